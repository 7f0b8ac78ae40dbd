import { SegmentedControl, Select, TextInput } from "@mantine/core";
import { useDeferredValue, useMemo, useState } from "react";
import { Icon } from "../../components/icons";
import { Empty } from "../../components/notice";
import { Card, Head, Loading, Scroll, Tag } from "../../components/page";
import { QueryView } from "../../components/query-view";
import { useModels } from "../../queries";
import { seriesColor } from "../../theme";
import type { MetaModel, Model } from "../../types";
import { STRATEGIES, exact, kindName, limitName, compact, sourceName } from "../../format";
import classes from "./models.module.css";

/** Members of a meta-model that are shown before it is expanded. */
const COLLAPSED = 6;

export default function Models() {
  const models = useModels();
  const metas = models.data?.data.filter((model) => model.kind === "meta") ?? [];
  const single = useMemo(() => models.data?.data.filter((model) => model.kind === "model") ?? [], [models.data]);
  return (
    <>
      <Head
        title="Models"
        lead="Model names that requests may use, and the current order of each meta-model's members."
      />
      <QueryView query={models} loading={<Loading rows={6} height={70} />} errorInCard>
        {() =>
          metas.length + single.length === 0 ? (
            <Card>
              <Empty icon="models" title="No model is available">
                No provider has a key. Set one, such as <code>GROQ_API_KEY</code>, or run <code>tollfree demo</code>.
              </Empty>
            </Card>
          ) : (
            <>
              <div className={classes.metas}>
                {metas.map((meta) => (
                  <Meta key={meta.id} meta={meta} />
                ))}
              </div>
              <Table models={single} />
            </>
          )
        }
      </QueryView>
    </>
  );
}

function Meta({ meta: { id, strategy, members } }: { meta: MetaModel }) {
  const [all, setAll] = useState(false);
  const shown = all ? members : members.slice(0, COLLAPSED);
  return (
    <Card title={<span className={classes.metaName}>{id}</span>} note={STRATEGIES[strategy]}>
      {members.length === 0 ? (
        <p className={classes.soft}>No members: set a provider key.</p>
      ) : (
        <ol className={classes.members}>
          {shown.map(({ name, rank, why }) => (
            <li key={name}>
              <span className={classes.rank}>{rank}</span>
              <span className={classes.member} title={name}>
                {name}
              </span>
              <span className={classes.why}>{why}</span>
            </li>
          ))}
        </ol>
      )}
      {members.length > COLLAPSED && (
        <button type="button" className={classes.toggle} aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `All ${members.length}`}
        </button>
      )}
    </Card>
  );
}

type Shown = "active" | "retired";

function Table({ models }: { models: Model[] }) {
  const [text, setText] = useState("");
  const [shown, setShown] = useState<Shown>("active");
  const [purpose, setPurpose] = useState<string | null>(null);
  const purposes = [...new Set(models.map((model) => model.model_kind))];
  const query = useDeferredValue(text.trim().toLowerCase());
  const hasStatus = (model: Model, shown: Shown) => (model.status === "retired") === (shown === "retired");
  const found = models.filter(
    (model) =>
      hasStatus(model, shown) &&
      (purpose === null || model.model_kind === purpose) &&
      (model.id.toLowerCase().includes(query) || model.capabilities.some((capability) => capability.includes(query))),
  );
  const count = (of: Shown) => models.filter((model) => hasStatus(model, of)).length;
  return (
    <Card
      flush
      title="By provider"
      action={
        <div className={classes.filter}>
          <TextInput
            size="xs"
            aria-label="Filter models"
            placeholder="Name or capability"
            value={text}
            leftSection={<Icon name="search" size={14} />}
            onChange={(event) => setText(event.currentTarget.value)}
          />
          {purposes.length > 1 && (
            <Select
              size="xs"
              aria-label="Kind of model"
              placeholder="All kinds"
              clearable
              value={purpose}
              onChange={setPurpose}
              data={purposes}
            />
          )}
          <SegmentedControl
            size="xs"
            aria-label="Which models"
            value={shown}
            onChange={setShown}
            data={[
              { value: "active", label: `In service ${count("active")}` },
              { value: "retired", label: `Retired ${count("retired")}` },
            ]}
          />
        </div>
      }
    >
      {found.length === 0 ? (
        <Empty icon="search" title="No model matches" />
      ) : (
        <Scroll label="All models">
          <table className={classes.table}>
            <thead>
              <tr>
                <th scope="col">Model</th>
                <th scope="col">Context</th>
                <th scope="col">Longest response</th>
                <th scope="col">Capabilities</th>
                <th scope="col">Quality</th>
                <th scope="col">{shown === "retired" ? "Successor" : "Limits per account"}</th>
              </tr>
            </thead>
            <tbody>
              {found.map((model) => (
                <Row key={model.id} model={model} />
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Card>
  );
}

function Row({ model }: { model: Model }) {
  const { id, model_kind, context_length, max_output, capabilities, quality, limits, status } = model;
  const { successor, retired_on } = model;
  const slash = id.indexOf("/");
  return (
    <tr>
      <th scope="row">
        <span className={classes.provider} style={{ background: seriesColor(id.slice(0, slash)) }} aria-hidden />
        <span className={classes.soft}>{id.slice(0, slash + 1)}</span>
        <b>{id.slice(slash + 1)}</b> {model_kind !== "chat" && <Tag>{model_kind}</Tag>}{" "}
        {status !== "active" && status !== "retired" && <Tag>{status}</Tag>}
      </th>
      <td className="num" data-name="context" title={context_length === null ? undefined : exact(context_length)}>
        {context_length === null ? "–" : compact(context_length)}
      </td>
      <td className="num" data-name="response" title={max_output === null ? undefined : exact(max_output)}>
        {max_output === null ? "–" : compact(max_output)}
      </td>
      <td>
        <span className={classes.capabilities}>
          {capabilities.map((capability) => (
            <Tag key={capability}>{capability.replaceAll("_", " ")}</Tag>
          ))}
        </span>
      </td>
      <td className="num" data-name="quality">
        {quality ?? "–"}
      </td>
      <td>
        {status === "retired" ? (
          <>
            {successor ?? "none"}
            {retired_on && <span className={classes.soft}> (retired {retired_on})</span>}
          </>
        ) : limits.length === 0 ? (
          <span className={classes.soft}>none</span>
        ) : (
          <ul className={classes.limits}>
            {limits.map(({ limit, max, kind, source }) => (
              <li
                key={limit}
                title={`${exact(max)} ${limitName(limit)}; ${sourceName(source)}; ${kindName(kind)}`}
                data-source={source}
              >
                <b>{compact(max)}</b> {limitName(limit)}
                {source !== "catalogue" && <i>{source}</i>}
              </li>
            ))}
          </ul>
        )}
      </td>
    </tr>
  );
}
