import { SegmentedControl, Switch, TextInput } from "@mantine/core";
import { Suspense, lazy, useDeferredValue, useMemo, useRef, useState } from "react";
import { Icon } from "../../components/icons";
import { Empty } from "../../components/notice";
import { Card, Head, Loading } from "../../components/page";
import { QueryView } from "../../components/query-view";
import { useBudget, useUsage } from "../../queries";
import type { Budget, Usage } from "../../types";
import { BarDetails, type BarId, type DetailsHandle } from "./bar-details";
import { filterProviders } from "./filter";
import { ProviderCard } from "./provider-card";
import { RANGES, type Range } from "./ranges";
import { FleetFigures } from "./fleet-figures";
import classes from "./pool.module.css";

const Charts = lazy(() => import("./charts"));

export default function Pool() {
  const budget = useBudget();
  const hour = useUsage({ by: "provider", step: "minute", back: RANGES["1 h"].back });
  return (
    <>
      <Head
        title="Pool"
        lead="Every limit of every account, shared by all replicas: its use, its users, and when capacity returns."
      />
      <QueryView query={budget} loading={<Loading rows={5} height={120} />} errorInCard>
        {(current) => <Fleet budget={current} hour={hour.data} />}
      </QueryView>
    </>
  );
}

function Fleet({ budget, hour }: { budget: Budget; hour: Usage | undefined }) {
  const [text, setText] = useState("");
  const [onlyConstrained, setOnlyConstrained] = useState(false);
  const details = useRef<DetailsHandle>(null);
  const show = useMemo(() => (bar: BarId, anchor: HTMLElement) => details.current?.show(bar, anchor), []);
  const query = useDeferredValue(text.trim().toLowerCase());
  const shown = useMemo(
    () => filterProviders(budget.providers, query, onlyConstrained),
    [budget.providers, query, onlyConstrained],
  );

  if (budget.providers.length === 0) {
    return (
      <Card>
        <Empty icon="key" title="No provider is configured">
          Set a provider key such as <code>GROQ_API_KEY</code> and restart the gateway, or run{" "}
          <code>tollfree demo</code> to try simulated ones.
        </Empty>
      </Card>
    );
  }
  return (
    <>
      <FleetFigures budget={budget} hour={hour} />
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
          label="Only nearly full or unavailable"
          checked={onlyConstrained}
          onChange={(event) => setOnlyConstrained(event.currentTarget.checked)}
        />
        <Legend />
      </div>
      {shown.map((provider) => (
        <ProviderCard key={provider.id} provider={provider} show={show} />
      ))}
      {shown.length === 0 && (
        <Card>
          <Empty icon="check" title={onlyConstrained && !query ? "Nothing is constrained" : "Nothing matches"}>
            {onlyConstrained && !query
              ? "Every limit has capacity left, and every model is available."
              : "No provider or model name contains this text."}
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
      <span data-what="held">reserved for waiting requests</span>
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
      note="requests and time to first token"
      action={
        <SegmentedControl
          size="xs"
          aria-label="Time range of the charts"
          data={Object.keys(RANGES)}
          value={range}
          onChange={(value) => setRange(value as Range)}
        />
      }
    >
      <QueryView query={usage} loading={<Loading rows={1} height={330} />}>
        {(data) =>
          data.series.every((series) => series.total.requests === 0) ? (
            <Empty icon="pool" title="No requests in this period">
              Send one from the Playground, or with a snippet from Get started. It appears here within a minute.
            </Empty>
          ) : (
            <Suspense fallback={<Loading rows={1} height={330} />}>
              <Charts usage={data} range={range} />
            </Suspense>
          )
        }
      </QueryView>
    </Card>
  );
}
