import { ActionIcon, Tooltip } from "@mantine/core";
import { useState } from "react";
import { Icon } from "./icons";

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  async function copy() {
    setDone(await toClipboard(text));
    setTimeout(() => setDone(false), 1_500);
  }
  return (
    <Tooltip label={done ? "Copied" : label}>
      <ActionIcon variant="subtle" color="gray" size="sm" aria-label={label} onClick={() => void copy()}>
        <Icon name={done ? "check" : "copy"} size={14} />
      </ActionIcon>
    </Tooltip>
  );
}

/** Over plain http the clipboard's own interface is not there; the old way is. */
async function toClipboard(text: string): Promise<boolean> {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.readOnly = true;
  (document.querySelector('[role="dialog"]') ?? document.body).append(field); // a dialog keeps the focus to itself
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}
