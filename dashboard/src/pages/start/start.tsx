import { Anchor, TextInput } from "@mantine/core";
import { useState } from "react";
import { Link } from "wouter";
import { CopyButton } from "../../components/copy-button";
import { Card, Head } from "../../components/page";
import { SnippetTabs } from "../../components/snippet-tabs";
import { baseUrl, tools } from "../../components/snippets";
import classes from "./start.module.css";

const NAMES = [
  ["free", "the model with the most room left"],
  ["free-fast", "the one with the lowest measured time to first token"],
  ["free-smart", "the one with the highest quality rank"],
  ["groq/openai/gpt-oss-120b", "that model at that provider"],
  ["gpt-oss-120b", "that model at every provider that serves it"],
];

export default function Start() {
  const [key, setKey] = useState("");
  return (
    <>
      <Head title="Get started" lead="Whatever speaks the OpenAI protocol needs two things: this address, and a key." />
      <div className={classes.columns}>
        <Card title="1. The address">
          <p className={classes.url}>
            <code>{baseUrl()}</code>
            <CopyButton text={baseUrl()} label="Copy the address" />
          </p>
        </Card>
        <Card title="2. A key">
          <p className={classes.soft}>
            <Anchor component={Link} href="/clients" inherit>
              Make one
            </Anchor>{" "}
            for each person or program. Where the gateway is open to this machine, any word will do.
          </p>
          <TextInput
            size="xs"
            aria-label="Key for the snippets"
            placeholder="Paste a key to see it in the snippets"
            autoComplete="off"
            value={key}
            description="It stays in this field, and is gone when you leave."
            onChange={(event) => setKey(event.currentTarget.value)}
          />
        </Card>
      </div>
      <Card title="3. Your tool">
        <SnippetTabs snippets={tools(key.trim() || "YOUR_KEY")} />
      </Card>
      <Card title="What to ask for">
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
          All of them stand on{" "}
          <Anchor component={Link} href="/models" inherit>
            Models
          </Anchor>
          . A program that would rather wait for room than be told 429 sends <code>Prefer: wait=30</code>; every 429 and
          503 carries a <code>Retry-After</code> that is true.
        </p>
      </Card>
    </>
  );
}
