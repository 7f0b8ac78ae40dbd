import { QueryClient, keepPreviousData, useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { Refusal, ask, withQuery } from "./api";
import { Live, useMode } from "./live-feed";
import { saw } from "./components/clock";
import { whole } from "./usage";
import type {
  AuditList,
  Budget,
  Client,
  ClientChange,
  ClientList,
  ClientWithKey,
  Config,
  ModelList,
  NewClient,
  RequestList,
  Status,
  Usage,
} from "./types";

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (failures, error) =>
        failures < 2 && (!(error instanceof Refusal) || error.status === 0 || error.status >= 500),
      retryDelay: (failures) => 500 * 2 ** failures,
    },
  },
});

export const live = new Live((budget) => {
  saw(budget.taken_at);
  queries.setQueryData(["budget"], budget);
});

/** A poll's answer is a sign of life; what we put in ourselves is not. */
queries.getQueryCache().subscribe((event) => {
  if (event.type === "updated" && event.action.type === "success" && !event.action.manual) live.heard();
});

const POLL_MS = 3_000;

export function useBudget() {
  const mode = useMode(live);
  return useQuery({
    queryKey: ["budget"],
    queryFn: ({ signal }) => ask<Budget>("GET", "/admin/v1/budget", undefined, signal),
    refetchInterval: mode === "live" ? false : POLL_MS,
  });
}

export interface UsageQuestion {
  by: "client" | "provider" | "model";
  step: "minute" | "day";
  /** How far back, in ms. */
  back: number;
  client?: string;
  provider?: string;
}

export function useUsage({ by, step, back, client, provider }: UsageQuestion) {
  return useQuery({
    queryKey: ["usage", by, step, back, client, provider],
    queryFn: async ({ signal }): Promise<Usage> => {
      const from = new Date(Date.now() - back).toISOString();
      return whole(
        await ask<Usage>("GET", withQuery("/admin/v1/usage", { by, step, from, client, provider }), undefined, signal),
      );
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

const REQUESTS_PAGE = 200;

export function useRequests(filters: Filters) {
  return useInfiniteQuery({
    queryKey: ["requests", filters],
    queryFn: ({ pageParam, signal }) =>
      ask<RequestList>(
        "GET",
        withQuery("/admin/v1/requests", { ...filters, limit: REQUESTS_PAGE, cursor: pageParam }),
        undefined,
        signal,
      ),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor,
    refetchOnWindowFocus: false,
    staleTime: Infinity,
    gcTime: 0,
  });
}

/** What came since the newest that is shown, asked for while the stream is away. */
export const newest = (filters: Filters) =>
  ask<RequestList>("GET", withQuery("/admin/v1/requests", { ...filters, limit: REQUESTS_PAGE }));

export const useRequest = (id: string | null) =>
  useQuery({
    queryKey: ["request", id],
    queryFn: async ({ signal }) => {
      const found = await ask<RequestList>(
        "GET",
        withQuery("/admin/v1/requests", { search: id, limit: 5 }),
        undefined,
        signal,
      );
      return found.data.find((record) => record.id === id) ?? null;
    },
    enabled: id !== null,
  });

export const useClients = (search: string) =>
  useInfiniteQuery({
    queryKey: ["clients", search],
    queryFn: ({ pageParam, signal }) =>
      ask<ClientList>(
        "GET",
        withQuery("/admin/v1/clients", { search, limit: 100, cursor: pageParam }),
        undefined,
        signal,
      ),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor,
    refetchInterval: 10_000,
    placeholderData: keepPreviousData,
  });

export const useClient = (id: string) =>
  useQuery({
    queryKey: ["client", id],
    queryFn: ({ signal }) => ask<Client>("GET", `/admin/v1/clients/${encodeURIComponent(id)}`, undefined, signal),
    refetchInterval: 10_000,
  });

export const useModels = () =>
  useQuery({
    queryKey: ["models"],
    queryFn: ({ signal }) => ask<ModelList>("GET", "/admin/v1/models", undefined, signal),
    refetchInterval: 10_000,
  });

export const useConfig = () =>
  useQuery({
    queryKey: ["config"],
    queryFn: ({ signal }) => ask<Config>("GET", "/admin/v1/config", undefined, signal),
  });

export const useStatus = () =>
  useQuery({
    queryKey: ["status"],
    queryFn: ({ signal }) => ask<Status>("GET", "/v1/status", undefined, signal),
    refetchInterval: 5_000,
  });

export const useAudit = () =>
  useInfiniteQuery({
    queryKey: ["audit"],
    queryFn: ({ pageParam, signal }) =>
      ask<AuditList>("GET", withQuery("/admin/v1/audit", { limit: 50, cursor: pageParam }), undefined, signal),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor,
    refetchInterval: 10_000,
  });

/** A change, after which what it may have changed is asked for again. */
function useChange<In, Out>(change: (input: In) => Promise<Out>, ...keys: string[]) {
  return useMutation({
    mutationFn: change,
    onSuccess: () => Promise.all([...keys, "audit"].map((key) => queries.invalidateQueries({ queryKey: [key] }))),
  });
}

const clientPath = (id: string, verb = "") => `/admin/v1/clients/${encodeURIComponent(id)}${verb}`;
const providerPath = (id: string, verb = "") => `/v1/status/providers/${encodeURIComponent(id)}${verb}`;

export const useCreateClient = () =>
  useChange((client: NewClient) => ask<ClientWithKey>("POST", "/admin/v1/clients", client), "clients");
export const useChangeClient = (id: string) =>
  useChange((change: ClientChange) => ask<Client>("PATCH", clientPath(id), change), "clients", "client");
export const useRotateClient = (id: string) =>
  useChange(
    (overlap_s: number) => ask<ClientWithKey>("POST", clientPath(id, "/rotate"), { overlap_s }),
    "clients",
    "client",
  );
export const useRevokeClient = (id: string) =>
  useChange(() => ask<Client>("POST", clientPath(id, "/revoke")), "clients", "client");
export const useDeleteClient = (id: string) => useChange(() => ask("DELETE", clientPath(id)), "clients");

export const useResetProvider = () =>
  useChange((id: string) => ask("POST", providerPath(id, "/reset")), "budget", "status");
export const useSwitchProvider = () =>
  useChange(
    ({ id, enabled }: { id: string; enabled: boolean }) => ask("PATCH", providerPath(id), { enabled }),
    "budget",
    "status",
  );
export const useSwitchModel = () =>
  useChange(
    ({ name, enabled }: { name: string; enabled: boolean }) => ask("PATCH", `/v1/status/models/${name}`, { enabled }),
    "budget",
    "status",
    "models",
  );
export const useSetOrder = () =>
  useChange(
    (strategy: Status["routingStrategy"]) => ask<Status>("PATCH", "/v1/status/routing", { strategy }),
    "status",
    "models",
  );
