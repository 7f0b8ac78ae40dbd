import { Anchor, Button } from "@mantine/core";
import { memo } from "react";
import { Link } from "wouter";
import { Icon } from "../../components/icons";
import { useNow } from "../../components/clock";
import { Tag } from "../../components/page";
import { causeName, exact, duration, elapsed } from "../../format";
import type { Message, Reply } from "./conversation";
import classes from "./playground.module.css";

export const ReplyView = memo(function ReplyView({
  reply,
  results,
  retry,
}: {
  reply: Reply;
  results: Message[];
  retry?: () => void;
}) {
  const { content, reasoning, toolCalls, state, problem } = reply;
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
      {problem && <ReplyError problem={problem} retry={retry} />}
      {state !== "waiting" && <ReplyDetails reply={reply} />}
    </div>
  );
});

function ReplyError({ problem, retry }: { problem: NonNullable<Reply["problem"]>; retry?: () => void }) {
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
          {left > 0 ? `Try again in ${duration(Math.ceil(left / 1000) * 1000).replace(".0", "")}` : "Try again"}
        </Button>
      )}
    </div>
  );
}

/** The model that replied, its attempts, times and tokens. */
function ReplyDetails({ reply }: { reply: Reply }) {
  const { model, attempts, waitedMs, firstMs, totalMs, tokensIn, tokensOut, state, requestId } = reply;
  const failed = attempts.filter((attempt) => attempt.cause !== "ok");
  const speed =
    tokensOut && firstMs !== null && totalMs !== null && totalMs > firstMs
      ? tokensOut / ((totalMs - firstMs) / 1000)
      : null;
  return (
    <ul className={classes.replyDetails} data-testid="reply-details">
      {model && <li className={classes.model}>{model}</li>}
      {attempts.length > 0 && (
        <li title={attempts.map(({ candidate, cause }) => `${candidate}: ${causeName(cause)}`).join("\n")}>
          {attempts.length === 1 ? "1 attempt" : `${attempts.length} attempts`}
          {failed.length > 0 &&
            ` (${failed.map((attempt) => `${attempt.candidate}: ${causeName(attempt.cause)}`).join(", ")})`}
        </li>
      )}
      {waitedMs !== null && <li>waited {elapsed(waitedMs)}</li>}
      {firstMs !== null && <li>first token {elapsed(firstMs)}</li>}
      {totalMs !== null && <li>{elapsed(totalMs)} in total</li>}
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
            show in the journal
          </Anchor>
        </li>
      )}
    </ul>
  );
}

/** Plain text. Parts between code fences are shown as code. */
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
