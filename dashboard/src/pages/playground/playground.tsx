import { Autocomplete, Button, Switch, Textarea } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { Icon } from "../../components/icons";
import { Empty } from "../../components/notice";
import { NumberField } from "../../components/number-field";
import { Head } from "../../components/page";
import { useModels } from "../../queries";
import { BLANK, answer, results, type Message, type Telling } from "./conversation";
import { Answer } from "./answer";
import classes from "./playground.module.css";

/** One question and what came of it; with tools, several answers. */
interface Turn {
  question: string;
  answers: { telling: Telling; results: Message[] }[];
}

const ROUNDS = 5; // a model that only calls tools is stopped

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
  const names =
    models?.filter((each) => each.kind === "meta" || each.status !== "retired").map((each) => each.id) ?? [];
  const end = useRef<HTMLDivElement>(null);
  const last = turns.at(-1)?.answers.at(-1)?.telling;
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" });
  }, [turns.length, last?.content, last?.state]);
  useEffect(() => () => running?.abort(), [running]);

  async function send(question: string, before: Turn[]) {
    const controller = new AbortController();
    setRunning(controller);
    const turn: Turn = { question, answers: [] };
    const show = () => setTurns([...before, { ...turn, answers: [...turn.answers] }]);
    for (let round = 0; round < ROUNDS; round += 1) {
      const messages = messagesOf([...before, turn], system);
      turn.answers.push({ telling: BLANK, results: [] });
      show();
      const telling = await answer(
        messages,
        { model: model.trim() || "free", temperature, maxTokens, tools },
        (telling) => {
          turn.answers[turn.answers.length - 1] = { telling, results: [] };
          show();
        },
        controller.signal,
      );
      if (telling.state !== "done" || telling.toolCalls.length === 0) break;
      turn.answers[turn.answers.length - 1] = { telling, results: results(telling.toolCalls) };
      show();
    }
    setRunning(null);
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
        lead="Talk to any model as the admin, and see who answered and what it took. Nothing of it is kept: it is gone when you leave."
      >
        {turns.length > 0 && (
          <Button variant="default" size="xs" disabled={running !== null} onClick={() => setTurns([])}>
            Clear
          </Button>
        )}
      </Head>
      <div className={classes.page}>
        <div className={classes.talk}>
          <div className={classes.turns} aria-live="polite" aria-busy={running !== null}>
            {turns.length === 0 && (
              <Empty icon="playground" title="Ask something">
                It costs what any request costs: the budget of the provider that answers.
              </Empty>
            )}
            {turns.map((turn, at) => (
              <section key={at} className={classes.turn}>
                <p className={classes.question}>{turn.question}</p>
                {turn.answers.map(({ telling, results }, nth) => (
                  <Answer
                    key={nth}
                    telling={telling}
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
            {running ? (
              <Button
                color="red"
                variant="light"
                leftSection={<Icon name="stop" size={14} />}
                onClick={() => running.abort()}
              >
                Stop
              </Button>
            ) : (
              <Button type="submit" leftSection={<Icon name="send" size={14} />} disabled={text.trim() === ""}>
                Send
              </Button>
            )}
          </form>
        </div>
        <aside className={classes.options} aria-label="Options">
          <Autocomplete
            label="Model"
            description="A name, as any client may ask"
            data={names}
            limit={80}
            maxDropdownHeight={320}
            value={model}
            onChange={setModel}
            selectFirstOptionOnChange={false}
          />
          <Textarea
            label="System prompt"
            autosize
            minRows={2}
            maxRows={8}
            value={system}
            onChange={(event) => setSystem(event.currentTarget.value)}
          />
          <NumberField
            label="Temperature"
            placeholder="as the provider"
            min={0}
            max={2}
            step={0.1}
            value={temperature}
            set={setTemperature}
          />
          <NumberField label="Most tokens" placeholder="as the provider" min={1} value={maxTokens} set={setMaxTokens} />
          <Switch
            label="Tools"
            description="The time, and dice: run in this page"
            checked={tools}
            onChange={(event) => setTools(event.currentTarget.checked)}
          />
        </aside>
      </div>
    </>
  );
}

function messagesOf(turns: Turn[], system: string): Message[] {
  const messages: Message[] = system.trim() ? [{ role: "system", content: system.trim() }] : [];
  for (const { question, answers } of turns) {
    messages.push({ role: "user", content: question });
    for (const { telling, results } of answers) {
      if (telling.state === "failed") continue;
      const { content, toolCalls } = telling;
      messages.push(
        results.length ? { role: "assistant", content, tool_calls: toolCalls } : { role: "assistant", content },
        ...results,
      );
    }
  }
  return messages;
}
