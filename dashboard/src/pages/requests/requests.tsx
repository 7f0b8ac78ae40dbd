import { Button, Select, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { useCallback, useEffect, useMemo, useState } from "react";
import { useLocation, useParams, useSearchParams } from "wouter";
import { Icon } from "../../components/icons";
import { Empty } from "../../components/notice";
import { Card, Head, Loading } from "../../components/page";
import { QueryView } from "../../components/query-view";
import { useBudget, useRequests, type Filters } from "../../queries";
import type { RequestRecord } from "../../types";
import { exact } from "../../format";
import { RequestDrawer } from "./request-drawer";
import { RequestTable } from "./request-table";
import { useTail } from "./tail";
import classes from "./requests.module.css";

const STATUSES = [
  { value: "ok", label: "Answered" },
  { value: "error", label: "Failed" },
  { value: "429", label: "Rejected (429)" },
];
const FILTER_NAMES = ["client", "provider", "model", "status", "search"] as const;

export default function Requests() {
  const [params, setParams] = useSearchParams();
  const { id } = useParams();
  const [, go] = useLocation();
  const filters = useMemo(() => filtersOf(params), [params]);
  const journal = useRequests(filters);
  const tail = useTail(filters, journal.data?.pages[0]?.data[0]);
  const { shown, paused, toTop, pause } = useFollowing(tail);
  const rows = useMemo(
    () => merge(shown, journal.data?.pages.flatMap((page) => page.data) ?? []),
    [shown, journal.data],
  );
  const hidden = tail.length - shown.length;
  const query = params.size ? `?${params.toString()}` : "";
  const open = useCallback(
    (record: RequestRecord) => go(`/requests/${encodeURIComponent(record.id)}${query}`),
    [go, query],
  );

  function set(name: (typeof FILTER_NAMES)[number], value: string | null) {
    setParams(
      (now) => {
        const next = new URLSearchParams(now);
        if (value) next.set(name, value);
        else next.delete(name);
        return next;
      },
      { replace: true },
    );
  }

  return (
    <>
      <Head
        title="Requests"
        lead="Finished requests of all replicas, newest first, with their attempts and their outcome."
      >
        <Button
          variant="default"
          size="xs"
          aria-pressed={!paused}
          leftSection={<Icon name={paused ? "start" : "pause"} size={14} />}
          onClick={() => pause(!paused)}
        >
          {paused ? `Follow${hidden > 0 ? ` (${exact(hidden)} new)` : ""}` : "Pause"}
        </Button>
      </Head>
      {hidden > 0 && !paused && (
        <Button className={classes.fresh} radius="xl" size="xs" onClick={toTop}>
          {exact(hidden)} new
        </Button>
      )}
      <FilterBar key={params.get("search") === null ? "all" : "searching"} filters={filters} set={set} />
      <Card flush>
        {rows.length > 0 ? (
          <RequestTable
            rows={rows}
            open={open}
            more={journal.hasNextPage && !journal.isFetching ? () => void journal.fetchNextPage() : null}
            busy={journal.isFetchingNextPage}
          />
        ) : (
          <QueryView query={journal} loading={<Loading rows={10} height={34} padded />}>
            {() => (params.size > 0 ? <NoMatch clear={() => setParams({}, { replace: true })} /> : <EmptyJournal />)}
          </QueryView>
        )}
      </Card>
      <RequestDrawer
        id={id ?? null}
        known={rows.find((record) => record.id === id)}
        close={() => go(`/requests${query}`)}
      />
    </>
  );
}

function NoMatch({ clear }: { clear: () => void }) {
  const action = (
    <Button variant="default" size="xs" onClick={clear}>
      Clear the filters
    </Button>
  );
  return (
    <Empty icon="search" title="No request matches" action={action}>
      No request in the journal matches all filters. The journal keeps only the most recent requests.
    </Empty>
  );
}

const EmptyJournal = () => (
  <Empty icon="requests" title="No requests yet">
    A request appears here when it ends. Try the Playground, or a snippet from Get started.
  </Empty>
);

/** Scrolled down this far, the list stops moving, so that rows stay where they are while being read. */
const READING_SCROLL_PX = 260;

/** The part of the tail to show: all of it, or what it contained when the list was paused or scrolled. */
function useFollowing(tail: RequestRecord[]) {
  const [paused, setPaused] = useState(false);
  const [reading, setReading] = useState(false);
  const [frozen, setFrozen] = useState<RequestRecord[] | null>(null);
  useEffect(() => {
    const listen = () => setReading(window.scrollY > READING_SCROLL_PX);
    window.addEventListener("scroll", listen, { passive: true });
    return () => window.removeEventListener("scroll", listen);
  }, []);
  const still = paused || reading;
  if (still && frozen === null) setFrozen(tail);
  if (!still && frozen !== null) setFrozen(null);
  // New filters start a new tail, which the frozen records do not belong to.
  const stale = frozen !== null && frozen.length > 0 && !tail.includes(frozen[0]!);
  if (stale) setFrozen(null);
  return {
    shown: still && frozen !== null && !stale ? frozen : tail,
    paused,
    pause: setPaused,
    toTop: () => window.scrollTo({ top: 0 }),
  };
}

function filtersOf(params: URLSearchParams): Filters {
  return Object.fromEntries(FILTER_NAMES.map((name) => [name, params.get(name) ?? undefined]));
}

/** Joins the live tail and the fetched list, which may overlap. Callers can send several requests with one id. */
function merge(tail: RequestRecord[], listed: RequestRecord[]): RequestRecord[] {
  if (tail.length === 0) return listed;
  const seen = new Set(tail.map((record) => record.cursor));
  return [...tail, ...listed.filter((record) => !seen.has(record.cursor))];
}

function FilterBar({
  filters,
  set,
}: {
  filters: Filters;
  set: (name: (typeof FILTER_NAMES)[number], value: string | null) => void;
}) {
  const budget = useBudget().data;
  const search = useDebouncedCallback((value: string) => set("search", value.trim()), 250);
  const providers = budget?.providers.map(({ id, name }) => ({ value: id, label: name })) ?? [];
  const models = useMemo(
    () => [
      ...new Set(
        budget?.providers.flatMap((provider) =>
          filters.provider && provider.id !== filters.provider
            ? []
            : provider.accounts.flatMap((account) => account.models.map((model) => model.name)),
        ),
      ),
    ],
    [budget, filters.provider],
  );
  return (
    <search className={classes.filters}>
      <TextInput
        size="xs"
        aria-label="Search"
        placeholder="Id, client or model"
        defaultValue={filters.search ?? ""}
        className={classes.search}
        leftSection={<Icon name="search" size={14} />}
        onChange={(event) => search(event.currentTarget.value)}
      />
      <Select
        size="xs"
        aria-label="Status"
        placeholder="Any status"
        data={STATUSES}
        value={filters.status ?? null}
        onChange={(value) => set("status", value)}
        clearable
      />
      <Select
        size="xs"
        aria-label="Provider"
        placeholder="Any provider"
        data={providers}
        value={filters.provider ?? null}
        onChange={(value) => set("provider", value)}
        clearable
      />
      <Select
        size="xs"
        aria-label="Model"
        placeholder="Any model"
        data={models}
        value={filters.model ?? null}
        onChange={(value) => set("model", value)}
        searchable
        clearable
        limit={60}
        className={classes.model}
      />
      {filters.client && (
        <Button
          size="xs"
          variant="light"
          rightSection={<Icon name="close" size={13} />}
          aria-label={`Client ${filters.client}: show all clients`}
          onClick={() => set("client", null)}
        >
          client {filters.client}
        </Button>
      )}
    </search>
  );
}
