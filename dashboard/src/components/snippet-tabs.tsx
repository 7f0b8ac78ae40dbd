import { Tabs } from "@mantine/core";
import { CopyButton } from "./copy-button";
import type { Snippet } from "./snippets";
import classes from "./snippet-tabs.module.css";

export function SnippetTabs({ snippets }: { snippets: Snippet[] }) {
  return (
    <Tabs defaultValue={snippets[0]?.id} keepMounted={false}>
      <Tabs.List>
        {snippets.map(({ id, name }) => (
          <Tabs.Tab key={id} value={id}>
            {name}
          </Tabs.Tab>
        ))}
      </Tabs.List>
      {snippets.map(({ id, name, text, note }) => (
        <Tabs.Panel key={id} value={id}>
          <Code text={text} name={name} />
          {note && <p className={classes.note}>{note}</p>}
        </Tabs.Panel>
      ))}
    </Tabs>
  );
}

export function Code({ text, name }: { text: string; name: string }) {
  return (
    <div className={classes.code}>
      {/* The block scrolls sideways, so it must be reachable by keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre tabIndex={0} aria-label={name}>
        {text}
      </pre>
      <span className={classes.copy}>
        <CopyButton text={text} label={`Copy: ${name}`} />
      </span>
    </div>
  );
}
