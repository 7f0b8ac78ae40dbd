import type { BudgetModel, Provider, Window } from "../../types";

/** The fill from which a window counts as nearly full. */
export const NEARLY_FULL = 0.75;

/** The part of a window that is used or reserved for waiting requests: 0 to 1. */
export const fill = (window: Window) => (window.max > 0 ? Math.min(1, (window.used + window.waiting) / window.max) : 1);

const isNearlyFull = (windows: Window[]) => windows.some((window) => fill(window) >= NEARLY_FULL);
const isUnavailable = (model: BudgetModel) =>
  !model.enabled || model.cooldown !== null || model.breaker.state !== "closed";

/** Providers and models whose name contains `text`; with `onlyConstrained`, those nearly full or unavailable. */
export function filterProviders(providers: Provider[], text: string, onlyConstrained: boolean): Provider[] {
  if (!text && !onlyConstrained) return providers;
  return providers.flatMap((provider) => {
    const named = `${provider.id} ${provider.name}`.toLowerCase().includes(text);
    const down = !provider.enabled || provider.breaker.state !== "closed";
    const accounts = provider.accounts.flatMap((account) => {
      const hasClosedKey = account.keys.some((key) => key.cooldown_until !== null);
      const models = account.models.filter(
        (model) =>
          (named || model.name.toLowerCase().includes(text)) &&
          (!onlyConstrained || isNearlyFull(model.windows) || isUnavailable(model)),
      );
      const own = named && (!onlyConstrained || isNearlyFull(account.windows) || hasClosedKey);
      return models.length > 0 || own ? [{ ...account, models }] : [];
    });
    return accounts.length > 0 || (named && onlyConstrained && down) ? [{ ...provider, accounts }] : [];
  });
}
