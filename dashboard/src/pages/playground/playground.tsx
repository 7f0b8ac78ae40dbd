import { Autocomplete, Button, Select, Switch, Textarea } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { Empty } from "../../components/notice";
import { NumberField } from "../../components/number-field";
import { Head } from "../../components/page";
import { useModels } from "../../queries";
import { EMPTY_REPLY, runTools, streamReply, type Message, type Reply } from "./conversation";
import { ReplyView } from "./answer";
import { SingleRequestForm } from "./single-request-form";
import type { MetaModel, Model } from "../../types";
import { SendButton } from "./send-button";
import classes from "./playground.module.css";

/** One question and the replies to it: several if the model calls tools. */
interface Turn {
  question: string;
  replies: { reply: Reply; results: Message[] }[];
}

/** The kinds of models that this page can call. */
const KINDS = [
  { value: "chat", label: "Chat" },
  { value: "completion", label: "Completion" },
  { value: "embedding", label: "Embedding" },
] as const;
type Kind = (typeof KINDS)[number]["value"];

/** Replies to one question at most, for a model that keeps calling tools. */
const MAX_ROUNDS = 5;

export default function Playground() {
  const [turns, setTurns] = useState<Turn[]>([]);
  const [text, setText] = useState("");
  const [system, setSystem] = useState("");
  const [model, setModel] = useState("free");
  const [temperature, setTemperature] = useState<number | null>(null);
  const [maxTokens, setMaxTokens] = useState<number | null>(null);
  const [tools, setTools] = useState(false);
  const [running, setRunning] = useState<AbortController | null>(null);
  const models = useModels().data?.data;
  const [kind, setKind] = useState<Kind>("chat");
  const namesOf = (kind: Kind) => models?.filter((each) => isOfKind(each, kind)).map((each) => each.id) ?? [];
  const names = namesOf(kind);
  const end = useRef<HTMLDivElement>(null);
  const last = turns.at(-1)?.replies.at(-1)?.reply;
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" });
  }, [turns.length, last?.content, last?.state]);
  useEffect(() => () => running?.abort(), [running]);

  async function send(question: string, before: Turn[]) {
    const controller = new AbortController();
    setRunning(controller);
    const turn: Turn = { question, replies: [] };
    const show = () => setTurns([...before, { ...turn, replies: [...turn.replies] }]);
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const messages = messagesOf([...before, turn], system);
      turn.replies.push({ reply: EMPTY_REPLY, results: [] });
      show();
      const reply = await streamReply(
        messages,
        { model: model.trim() || "free", temperature, maxTokens, tools },
        (reply) => {
          turn.replies[turn.replies.length - 1] = { reply, results: [] };
          show();
        },
        controller.signal,
      );
      if (reply.state !== "done" || reply.toolCalls.length === 0) break;
      turn.replies[turn.replies.length - 1] = { reply, results: runTools(reply.toolCalls) };
      show();
    }
    setRunning(null);
  }

  function choose(next: Kind) {
    running?.abort();
    setKind(next);
    setModel(next === "chat" ? "free" : (namesOf(next)[0] ?? ""));
  }

  function submit() {
    const question = text.trim();
    if (!question || running) return;
    setText("");
    void send(question, turns);
  }

  return (
    <>
      <Head
        title="Playground"
        lead="Try chat, completion and embedding models as the administrator and see how each request was routed. What you enter is lost when you leave the page."
      >
        {kind === "chat" && turns.length > 0 && (
          <Button variant="default" size="xs" disabled={running !== null} onClick={() => setTurns([])}>
            Clear
          </Button>
        )}
      </Head>
      <div className={classes.page}>
        <div className={classes.talk}>
          {kind !== "chat" ? (
            <SingleRequestForm key={kind} kind={kind} model={model} temperature={temperature} maxTokens={maxTokens} />
          ) : (
            <>
              <div className={classes.turns} aria-live="polite" aria-busy={running !== null}>
                {turns.length === 0 && (
                  <Empty icon="playground" title="Send a message">
                    It uses the budget of the provider that serves it, like any request.
                  </Empty>
                )}
                {turns.map((turn, at) => (
                  <section key={at} className={classes.turn}>
                    <p className={classes.question}>{turn.question}</p>
                    {turn.replies.map(({ reply, results }, nth) => (
                      <ReplyView
                        key={nth}
                        reply={reply}
                        results={results}
                        retry={
                          at === turns.length - 1 && !running
                            ? () => void send(turn.question, turns.slice(0, at))
                            : undefined
                        }
                      />
                    ))}
                  </section>
                ))}
                <div ref={end} />
              </div>
              <form
                className={classes.ask}
                onSubmit={(event) => {
                  event.preventDefault();
                  submit();
                }}
              >
                <Textarea
                  aria-label="Message"
                  placeholder="Message (Enter sends, Shift+Enter breaks the line)"
                  autosize
                  minRows={2}
                  maxRows={10}
                  value={text}
                  autoFocus
                  onChange={(event) => setText(event.currentTarget.value)}
                  onKeyDown={(event) => {
                    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
                    event.preventDefault();
                    submit();
                  }}
                />
                <SendButton running={running} disabled={text.trim() === ""} />
              </form>
            </>
          )}
        </div>
        <aside className={classes.options} aria-label="Options">
          <Select
            label="Kind of model"
            description="Recordings, ranking and moderation are not tried here"
            allowDeselect={false}
            data={KINDS}
            value={kind}
            onChange={(value) => choose(value ?? "chat")}
          />
          <Autocomplete
            label="Model"
            description="Any model or meta-model name of this kind"
            data={names}
            limit={80}
            maxDropdownHeight={320}
            value={model}
            onChange={setModel}
            selectFirstOptionOnChange={false}
          />
          {kind === "chat" && (
            <Textarea
              label="System prompt"
              autosize
              minRows={2}
              maxRows={8}
              value={system}
              onChange={(event) => setSystem(event.currentTarget.value)}
            />
          )}
          {kind !== "embedding" && (
            <>
              <NumberField
                label="Temperature"
                placeholder="provider default"
                min={0}
                max={2}
                step={0.1}
                value={temperature}
                set={setTemperature}
              />
              <NumberField
                label="Maximum tokens"
                placeholder="provider default"
                min={1}
                value={maxTokens}
                set={setMaxTokens}
              />
            </>
          )}
          {kind === "chat" && (
            <Switch
              label="Tools"
              description="The current time and dice, run in this page"
              checked={tools}
              onChange={(event) => setTools(event.currentTarget.checked)}
            />
          )}
        </aside>
      </div>
    </>
  );
}

/** A chat model that fills in the middle completes prompts, too. */
function isOfKind(each: MetaModel | Model, kind: Kind): boolean {
  if (each.kind === "meta") return each.model_kind === kind;
  if (each.status === "retired") return false;
  return each.model_kind === kind || (kind === "completion" && each.capabilities.includes("fim"));
}

function messagesOf(turns: Turn[], system: string): Message[] {
  const messages: Message[] = system.trim() ? [{ role: "system", content: system.trim() }] : [];
  for (const { question, replies } of turns) {
    messages.push({ role: "user", content: question });
    for (const { reply, results } of replies) {
      if (reply.state === "failed") continue;
      const { content, toolCalls } = reply;
      messages.push(
        results.length ? { role: "assistant", content, tool_calls: toolCalls } : { role: "assistant", content },
        ...results,
      );
    }
  }
  return messages;
}
