import { SegmentedControl, Switch, TextInput } from "@mantine/core";
import { Suspense, lazy, useDeferredValue, useMemo, useRef, useState } from "react";
import { Icon } from "../../components/icons";
import { Empty, Failure } from "../../components/notice";
import { Card, Head, Loading } from "../../components/page";
import { useBudget, useUsage } from "../../queries";
import type { Budget, Usage } from "../../types";
import { BarDetails, type DetailsHandle, type Place } from "./bar-details";
import { narrowed } from "./filter";
import { ProviderCard } from "./provider-card";
import { RANGES, type Range } from "./ranges";
import { Vitals } from "./fleet-figures";
import classes from "./pool.module.css";

const Charts = lazy(() => import("./charts"));

export default function Pool() {
  const budget = useBudget();
  const hour = useUsage({ by: "provider", step: "minute", back: RANGES["1 h"].back });
  return (
    <>
      <Head
        title="Pool"
        lead="Every limit of every account, for the whole fleet: what is used, who uses it, when it comes back."
      />
      {budget.data ? (
        <Fleet budget={budget.data} hour={hour.data} />
      ) : budget.isError ? (
        <Card>
          <Failure error={budget.error} retry={() => void budget.refetch()} />
        </Card>
      ) : (
        <Loading rows={5} height={120} />
      )}
    </>
  );
}

function Fleet({ budget, hour }: { budget: Budget; hour: Usage | undefined }) {
  const [text, setText] = useState("");
  const [tight, setTight] = useState(false);
  const details = useRef<DetailsHandle>(null);
  const show = useMemo(() => (place: Place, anchor: HTMLElement) => details.current?.show(place, anchor), []);
  const wanted = useDeferredValue(text.trim().toLowerCase());
  const shown = useMemo(() => narrowed(budget.providers, wanted, tight), [budget.providers, wanted, tight]);

  if (budget.providers.length === 0) {
    return (
      <Card>
        <Empty icon="key" title="No provider is configured">
          Set a provider key such as <code>GROQ_API_KEY</code> and start again, or run <code>tollfree demo</code> to see
          it on simulated ones.
        </Empty>
      </Card>
    );
  }
  return (
    <>
      <Vitals budget={budget} hour={hour} />
      <History />
      <div className={classes.filter}>
        <h2>Limits</h2>
        <TextInput
          size="xs"
          aria-label="Filter providers and models"
          placeholder="Filter providers and models"
          value={text}
          leftSection={<Icon name="search" size={14} />}
          onChange={(event) => setText(event.currentTarget.value)}
        />
        <Switch
          size="xs"
          label="Only what is tight or shut"
          checked={tight}
          onChange={(event) => setTight(event.currentTarget.checked)}
        />
        <Legend />
      </div>
      {shown.map((provider) => (
        <ProviderCard key={provider.id} provider={provider} show={show} />
      ))}
      {shown.length === 0 && (
        <Card>
          <Empty icon="check" title={tight && !wanted ? "Nothing is tight" : "Nothing matches"}>
            {tight && !wanted
              ? "Every limit has room, and nothing is shut."
              : "No provider or model has this in its name."}
          </Empty>
        </Card>
      )}
      <BarDetails ref={details} budget={budget} />
    </>
  );
}

function Legend() {
  return (
    <div className={classes.legend} aria-hidden>
      <span data-what="used">used</span>
      <span data-what="high">over 75 %</span>
      <span data-what="full">full</span>
      <span data-what="held">held for waiters</span>
    </div>
  );
}

function History() {
  const [range, setRange] = useState<Range>("1 h");
  const { step, back } = RANGES[range];
  const usage = useUsage({ by: "provider", step, back });
  return (
    <Card
      title="By provider"
      note="requests, and the time to their first token"
      action={
        <SegmentedControl
          size="xs"
          aria-label="Span of the charts"
          data={Object.keys(RANGES)}
          value={range}
          onChange={(value) => setRange(value as Range)}
        />
      }
    >
      {usage.isError && !usage.data ? (
        <Failure error={usage.error} retry={() => void usage.refetch()} />
      ) : usage.data?.series.every((series) => series.total.requests === 0) ? (
        <Empty icon="pool" title="No request in this span">
          Send one, from the Playground or with a snippet of Get started: it shows here within a minute.
        </Empty>
      ) : (
        <Suspense fallback={<Loading rows={1} height={330} />}>
          {usage.data ? <Charts usage={usage.data} range={range} /> : <Loading rows={1} height={330} />}
        </Suspense>
      )}
    </Card>
  );
}
