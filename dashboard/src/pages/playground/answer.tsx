import { Anchor, Button } from "@mantine/core";
import { memo } from "react";
import { Link } from "wouter";
import { Icon } from "../../components/icons";
import { useNow } from "../../components/clock";
import { Tag } from "../../components/page";
import { causeName, exact, span, took } from "../../format";
import type { Message, Telling } from "./conversation";
import classes from "./playground.module.css";

export const Answer = memo(function Answer({
  telling,
  results,
  retry,
}: {
  telling: Telling;
  results: Message[];
  retry?: () => void;
}) {
  const { content, reasoning, toolCalls, state, problem } = telling;
  return (
    <div className={classes.answer}>
      {reasoning && (
        <details className={classes.thought}>
          <summary>Reasoning</summary>
          {reasoning}
        </details>
      )}
      {state === "waiting" && <p className={classes.soft}>Waiting for the first token…</p>}
      <Prose text={content} />
      {toolCalls.map((call, at) => (
        <p key={at} className={classes.tool}>
          <code>
            {call.name}({call.arguments === "{}" ? "" : call.arguments})
          </code>
          {results[at] && <code className={classes.soft}> → {results[at].content}</code>}
        </p>
      ))}
      {problem && <Trouble problem={problem} retry={retry} />}
      {state !== "waiting" && <Telltale telling={telling} />}
    </div>
  );
});

function Trouble({ problem, retry }: { problem: NonNullable<Telling["problem"]>; retry?: () => void }) {
  const now = useNow();
  const left = problem.retryAt === null ? 0 : problem.retryAt - now;
  return (
    <div className={classes.trouble} role="alert">
      <p>
        {problem.status > 0 && <Tag tone="bad">{problem.status}</Tag>} {problem.message}
      </p>
      {retry && (
        <Button
          variant="default"
          size="compact-xs"
          disabled={left > 0}
          leftSection={<Icon name="reset" size={13} />}
          onClick={retry}
        >
          {left > 0 ? `Try again in ${span(Math.ceil(left / 1000) * 1000).replace(".0", "")}` : "Try again"}
        </Button>
      )}
    </div>
  );
}

/** Who answered, and what it took. */
function Telltale({ telling }: { telling: Telling }) {
  const { model, attempts, waitedMs, firstMs, totalMs, tokensIn, tokensOut, state, requestId } = telling;
  const failed = attempts.filter((attempt) => attempt.cause !== "ok");
  const speed =
    tokensOut && firstMs !== null && totalMs !== null && totalMs > firstMs
      ? tokensOut / ((totalMs - firstMs) / 1000)
      : null;
  return (
    <ul className={classes.telltale} data-testid="telltale">
      {model && <li className={classes.model}>{model}</li>}
      {attempts.length > 0 && (
        <li title={attempts.map(({ candidate, cause }) => `${candidate}: ${causeName(cause)}`).join("\n")}>
          {attempts.length === 1 ? "1 attempt" : `${attempts.length} attempts`}
          {failed.length > 0 &&
            ` (${failed.map((attempt) => `${attempt.candidate}: ${causeName(attempt.cause)}`).join(", ")})`}
        </li>
      )}
      {waitedMs !== null && <li>waited {took(waitedMs)}</li>}
      {firstMs !== null && <li>first token {took(firstMs)}</li>}
      {totalMs !== null && <li>{took(totalMs)} in all</li>}
      {tokensOut !== null && (
        <li>
          {exact(tokensIn ?? 0)} → {exact(tokensOut)} tokens
        </li>
      )}
      {speed !== null && <li>{speed < 10 ? speed.toFixed(1) : exact(Math.round(speed))} tokens/s</li>}
      {state === "stopped" && <li>stopped</li>}
      {requestId && state !== "streaming" && (
        <li>
          <Anchor component={Link} href={`/requests/${encodeURIComponent(requestId)}`} inherit>
            in the journal
          </Anchor>
        </li>
      )}
    </ul>
  );
}

/** Text as it is; what stands between fences as code. */
function Prose({ text }: { text: string }) {
  return text.split("```").map((part, at) =>
    at % 2 === 0 ? (
      part && (
        <p key={at} className={classes.prose}>
          {part}
        </p>
      )
    ) : (
      <pre key={at} className={classes.fenced}>
        {part.replace(/^[\w+-]*\n/, "")}
      </pre>
    ),
  );
}
