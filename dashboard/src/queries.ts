import { QueryClient, keepPreviousData, useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { ApiError, api, bodyOf } from "./api";
import { syncClock } from "./components/clock";
import { LiveFeed, useFeedMode } from "./live-feed";
import { fillGaps } from "./usage";
import type { ClientChange, LimitOf, NewClient, NewProviderKey, ProviderKeyChange, Strategy, Usage } from "./types";

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (failures, error) =>
        failures < 2 && (!(error instanceof ApiError) || error.status === 0 || error.status >= 500),
      retryDelay: (failures) => 500 * 2 ** failures,
    },
  },
});

export const liveFeed = new LiveFeed(
  (budget) => {
    syncClock(budget.taken_at);
    queryClient.setQueryData(["budget"], budget);
  },
  () => void Promise.all(["providers", "models"].map((key) => queryClient.invalidateQueries({ queryKey: [key] }))),
);

// Every answered poll shows that the gateway is reachable; data that the page itself writes to the cache does not.
queryClient.getQueryCache().subscribe((event) => {
  if (event.type === "updated" && event.action.type === "success" && !event.action.manual) liveFeed.markUpdated();
});

const CURSOR_PAGES = {
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (last: { next_cursor?: string | null }) => last.next_cursor,
};

const byId = (id: string) => ({ params: { path: { id } } });

const POLL_MS = 3_000;

export function useBudget() {
  const mode = useFeedMode(liveFeed);
  return useQuery({
    queryKey: ["budget"],
    queryFn: ({ signal }) => bodyOf(api.GET("/admin/v1/budget", { signal })),
    refetchInterval: mode === "live" ? false : POLL_MS,
  });
}

export interface UsageQuery {
  by: "client" | "provider" | "model";
  step: Usage["step"];
  /** How far back the series reach, in ms. */
  back: number;
}

export function useUsage({ by, step, back }: UsageQuery) {
  return useQuery({
    queryKey: ["usage", by, step, back],
    queryFn: async ({ signal }): Promise<Usage> => {
      const from = new Date(Date.now() - back).toISOString();
      return fillGaps(await bodyOf(api.GET("/admin/v1/usage", { params: { query: { by, step, from } }, signal })));
    },
    refetchInterval: step === "minute" ? 15_000 : 60_000,
    placeholderData: keepPreviousData,
  });
}

export interface Filters {
  client?: string;
  provider?: string;
  model?: string;
  status?: string;
  search?: string;
}

const REQUESTS_PER_PAGE = 200;

const listRequests = (filters: Filters, cursor: string | undefined, signal?: AbortSignal) =>
  bodyOf(
    api.GET("/admin/v1/requests", { params: { query: { ...filters, limit: REQUESTS_PER_PAGE, cursor } }, signal }),
  );

export function useRequests(filters: Filters) {
  return useInfiniteQuery({
    queryKey: ["requests", filters],
    queryFn: ({ pageParam, signal }) => listRequests(filters, pageParam, signal),
    ...CURSOR_PAGES,
    refetchOnWindowFocus: false,
    staleTime: Infinity,
    gcTime: 0,
  });
}

/** The most recent requests, for polling while the event stream is interrupted. */
export const listNewestRequests = (filters: Filters) => listRequests(filters, undefined);

export const useRequest = (id: string | null) =>
  useQuery({
    queryKey: ["request", id],
    queryFn: async ({ signal }) => {
      const query = { search: id ?? "", limit: 5 };
      const { data } = await bodyOf(api.GET("/admin/v1/requests", { params: { query }, signal }));
      return data.find((record) => record.id === id) ?? null;
    },
    enabled: id !== null,
  });

export const useClients = (search: string) =>
  useInfiniteQuery({
    queryKey: ["clients", search],
    queryFn: ({ pageParam, signal }) => {
      const query = { search: search || undefined, limit: 100, cursor: pageParam };
      return bodyOf(api.GET("/admin/v1/clients", { params: { query }, signal }));
    },
    ...CURSOR_PAGES,
    refetchInterval: 10_000,
    placeholderData: keepPreviousData,
  });

export const useClient = (id: string) =>
  useQuery({
    queryKey: ["client", id],
    queryFn: ({ signal }) => bodyOf(api.GET("/admin/v1/clients/{id}", { ...byId(id), signal })),
    refetchInterval: 10_000,
  });

export const useModels = () =>
  useQuery({
    queryKey: ["models"],
    queryFn: ({ signal }) => bodyOf(api.GET("/admin/v1/models", { signal })),
    refetchInterval: 10_000,
  });

export const useProviders = () =>
  useQuery({
    queryKey: ["providers"],
    queryFn: ({ signal }) => bodyOf(api.GET("/admin/v1/providers", { signal })),
    refetchInterval: 10_000,
  });

export const useProviderKeys = () =>
  useQuery({
    queryKey: ["provider-keys"],
    queryFn: ({ signal }) => bodyOf(api.GET("/admin/v1/provider-keys", { signal })),
    refetchInterval: 5_000,
  });

export const useConfig = () =>
  useQuery({ queryKey: ["config"], queryFn: ({ signal }) => bodyOf(api.GET("/admin/v1/config", { signal })) });

export const useStatus = () =>
  useQuery({
    queryKey: ["status"],
    queryFn: ({ signal }) => bodyOf(api.GET("/v1/status", { signal })),
    refetchInterval: 5_000,
  });

export const useAudit = () =>
  useInfiniteQuery({
    queryKey: ["audit"],
    queryFn: ({ pageParam, signal }) =>
      bodyOf(api.GET("/admin/v1/audit", { params: { query: { limit: 50, cursor: pageParam } }, signal })),
    ...CURSOR_PAGES,
    refetchInterval: 10_000,
  });

/** A change. Afterwards the queries under `keys`, and the audit log, are fetched again. */
function useChange<In, Out>(mutationFn: (input: In) => Promise<Out>, ...keys: string[]) {
  return useMutation({
    mutationFn,
    gcTime: 0, // what was sent may be a secret
    onSuccess: () => Promise.all([...keys, "audit"].map((key) => queryClient.invalidateQueries({ queryKey: [key] }))),
  });
}

export const useCreateClient = () =>
  useChange((body: NewClient) => bodyOf(api.POST("/admin/v1/clients", { body })), "clients");
export const useChangeClient = (id: string) =>
  useChange(
    (body: ClientChange) => bodyOf(api.PATCH("/admin/v1/clients/{id}", { ...byId(id), body })),
    "clients",
    "client",
  );
export const useRotateClient = (id: string) =>
  useChange(
    (overlap_s: number) => bodyOf(api.POST("/admin/v1/clients/{id}/rotate", { ...byId(id), body: { overlap_s } })),
    "clients",
    "client",
  );
export const useRevokeClient = (id: string) =>
  useChange(() => bodyOf(api.POST("/admin/v1/clients/{id}/revoke", byId(id))), "clients", "client");
export const useDeleteClient = (id: string) =>
  useChange(() => bodyOf(api.DELETE("/admin/v1/clients/{id}", byId(id))), "clients");

export const useAddProviderKey = () =>
  useChange(
    (body: NewProviderKey) => bodyOf(api.POST("/admin/v1/provider-keys", { body })),
    "provider-keys",
    "providers",
    "models",
  );
export const useChangeProviderKey = (id: string) =>
  useChange(
    (body: ProviderKeyChange) => bodyOf(api.PATCH("/admin/v1/provider-keys/{id}", { ...byId(id), body })),
    "provider-keys",
    "providers",
    "models",
  );
export const useDeleteProviderKey = () =>
  useChange(
    (id: string) => bodyOf(api.DELETE("/admin/v1/provider-keys/{id}", byId(id))),
    "provider-keys",
    "providers",
    "models",
  );
/** Looks at the lists of models of all providers. */
export const useRefreshLists = () =>
  useChange(() => bodyOf(api.POST("/admin/v1/providers/refresh", { body: {} })), "providers", "models");
/** Switches on or off that a provider is called without a key. */
export const useSwitchKeyless = (id: string) =>
  useChange(
    (keyless: boolean) => bodyOf(api.PATCH("/admin/v1/providers/{id}", { ...byId(id), body: { keyless } })),
    "providers",
    "models",
  );
/** Tries a key. Nothing changes by it. */
export const useTestProviderKey = (id: string) =>
  useMutation({ mutationFn: () => bodyOf(api.POST("/admin/v1/provider-keys/{id}/test", byId(id))) });

/** Forgets a learned limit, so that the configured one is in force. */
export const useForgetLimit = () =>
  useChange((body: LimitOf) => bodyOf(api.POST("/admin/v1/budget/forget", { body })), "budget", "models");
export const useResetProvider = () =>
  useChange((id: string) => bodyOf(api.POST("/v1/status/providers/{id}/reset", byId(id))), "budget", "status");
export const useSwitchProvider = () =>
  useChange(
    ({ id, enabled }: { id: string; enabled: boolean }) =>
      bodyOf(api.PATCH("/v1/status/providers/{id}", { ...byId(id), body: { enabled } })),
    "budget",
    "status",
  );
export const useSwitchModel = () =>
  useChange(
    ({ name, enabled }: { name: string; enabled: boolean }) =>
      bodyOf(api.PATCH("/v1/status/models/{id}", { ...byId(name), body: { enabled } })),
    "budget",
    "status",
    "models",
  );
export const useSetStrategy = () =>
  useChange(
    (strategy: Strategy) => bodyOf(api.PATCH("/v1/status/routing", { body: { strategy } })),
    "status",
    "models",
  );
