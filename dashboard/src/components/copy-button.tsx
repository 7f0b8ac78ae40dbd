import { ActionIcon, Tooltip } from "@mantine/core";
import { useState } from "react";
import { Icon } from "./icons";

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  async function copy() {
    setCopied(await copyToClipboard(text));
    setTimeout(() => setCopied(false), 1_500);
  }
  return (
    <Tooltip label={copied ? "Copied" : label}>
      <ActionIcon variant="subtle" color="gray" size="sm" aria-label={label} onClick={() => void copy()}>
        <Icon name={copied ? "check" : "copy"} size={14} />
      </ActionIcon>
    </Tooltip>
  );
}

/** Browsers offer `navigator.clipboard` over HTTPS and on localhost only; elsewhere `execCommand` still works. */
async function copyToClipboard(text: string): Promise<boolean> {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.readOnly = true;
  (document.querySelector('[role="dialog"]') ?? document.body).append(field); // an open dialog traps the focus
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}
