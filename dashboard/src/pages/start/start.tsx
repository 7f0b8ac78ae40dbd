import { Anchor, TextInput } from "@mantine/core";
import { useState } from "react";
import { Link } from "wouter";
import { CopyButton } from "../../components/copy-button";
import { Card, Head } from "../../components/page";
import { SnippetTabs } from "../../components/snippet-tabs";
import { others, setupLines, useRoot } from "../../components/snippets";
import classes from "./start.module.css";

const NAMES = [
  ["free", "the model with the most headroom left"],
  ["free-fast", "the model with the lowest measured time to first token"],
  ["free-smart", "the model with the highest quality rank"],
  ["groq/openai/gpt-oss-120b", "one model at one provider"],
  ["gpt-oss-120b", "one model at every provider that serves it"],
];

export default function Start() {
  const [key, setKey] = useState("");
  const root = useRoot();
  const baseUrl = `${root}/v1`;
  return (
    <>
      <Head
        title="Get started"
        lead="Any tool that supports the OpenAI API needs two things: this base URL and a key."
      />
      <div className={classes.columns}>
        <Card title="1. Base URL">
          <p className={classes.url}>
            <code>{baseUrl}</code>
            <CopyButton text={baseUrl} label="Copy the base URL" />
          </p>
        </Card>
        <Card title="2. Key">
          <p className={classes.soft}>
            <Anchor component={Link} href="/clients" inherit>
              Create one
            </Anchor>{" "}
            for each person or program. If the gateway accepts requests without a key, any text works.
          </p>
          <TextInput
            size="xs"
            aria-label="Key for the snippets"
            placeholder="Paste a key to see it in the snippets"
            autoComplete="off"
            value={key}
            description="The key stays in this field and is lost when you leave the page."
            onChange={(event) => setKey(event.currentTarget.value)}
          />
        </Card>
      </div>
      <Card title="3. Set up a coding agent">
        <p className={classes.soft}>
          One line in a terminal. It reads the key from the terminal, and keeps your other settings.
        </p>
        <SnippetTabs snippets={setupLines(root)} />
      </Card>
      <Card title="4. Other tools, and code">
        <SnippetTabs snippets={others(key.trim() || "YOUR_KEY", root)} />
      </Card>
      <Card title="Model names">
        <dl className={classes.names}>
          {NAMES.map(([name, what]) => (
            <div key={name}>
              <dt>
                <code>{name}</code>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
        <p className={classes.soft}>
          The page{" "}
          <Anchor component={Link} href="/models" inherit>
            Models
          </Anchor>{" "}
          lists all of them. A program that prefers to wait for capacity instead of receiving a 429 sends{" "}
          <code>Prefer: wait=30</code>. Every 429 and 503 has an accurate <code>Retry-After</code>.
        </p>
      </Card>
    </>
  );
}
