import { Textarea } from "@mantine/core";
import { useEffect, useState } from "react";
import { ReplyView } from "./answer";
import { EMPTY_REPLY, type Reply } from "./conversation";
import { sendOnce, type SingleRequest } from "./single-request";
import { SendButton } from "./send-button";
import classes from "./playground.module.css";

interface Options {
  kind: SingleRequest["kind"];
  model: string;
  temperature: number | null;
  maxTokens: number | null;
}

/** A form for a completion of a prompt, or for vectors of texts, and the response to it. */
export function SingleRequestForm({ kind, model, temperature, maxTokens }: Options) {
  const [text, setText] = useState("");
  const [suffix, setSuffix] = useState("");
  const [reply, setReply] = useState<Reply | null>(null);
  const [running, setRunning] = useState<AbortController | null>(null);
  useEffect(() => () => running?.abort(), [running]);

  async function submit() {
    const controller = new AbortController();
    setRunning(controller);
    setReply(EMPTY_REPLY);
    const request: SingleRequest =
      kind === "embedding"
        ? { kind, texts: text.split("\n").filter((line) => line.trim() !== "") }
        : { kind, prompt: text, suffix, temperature, maxTokens };
    const answer = await sendOnce(model, request, controller.signal);
    setReply(answer);
    setRunning(null);
  }

  return (
    <form
      className={classes.single}
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <Textarea
        label={kind === "embedding" ? "Texts" : "Prompt"}
        description={kind === "embedding" ? "One per line" : "What the model continues"}
        autosize
        minRows={4}
        maxRows={16}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      {kind === "completion" && (
        <Textarea
          label="Suffix"
          description="What follows the completion; only for models that fill in the middle"
          autosize
          minRows={2}
          maxRows={10}
          value={suffix}
          onChange={(event) => setSuffix(event.currentTarget.value)}
        />
      )}
      <SendButton running={running} disabled={text.trim() === "" || model.trim() === ""} />
      <div aria-live="polite" aria-busy={running !== null}>
        {reply && <ReplyView reply={reply} results={[]} />}
      </div>
    </form>
  );
}
