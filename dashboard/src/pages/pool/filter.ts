import type { BudgetModel, Provider, Window } from "../../types";

export const TIGHT = 0.75;

/** The part of a window that is spoken for: 0 to 1. */
export const fill = (window: Window) => (window.max > 0 ? Math.min(1, (window.used + window.waiting) / window.max) : 1);

const isTight = (windows: Window[]) => windows.some((window) => fill(window) >= TIGHT);
const isShut = (model: BudgetModel) => !model.enabled || model.shut !== null || model.breaker.state !== "closed";

/** What has the text in its name and, if only that is wanted, is tight or shut. */
export function narrowed(providers: Provider[], text: string, tight: boolean): Provider[] {
  if (!text && !tight) return providers;
  return providers.flatMap((provider) => {
    const named = `${provider.id} ${provider.name}`.toLowerCase().includes(text);
    const down = !provider.enabled || provider.breaker.state !== "closed";
    const accounts = provider.accounts.flatMap((account) => {
      const keyShut = account.keys.some((key) => key.shut_until !== null);
      const models = account.models.filter(
        (model) =>
          (named || model.name.toLowerCase().includes(text)) && (!tight || isTight(model.windows) || isShut(model)),
      );
      const own = named && (!tight || isTight(account.windows) || keyShut);
      return models.length > 0 || own ? [{ ...account, models }] : [];
    });
    return accounts.length > 0 || (named && tight && down) ? [{ ...provider, accounts }] : [];
  });
}
