import { Button } from "@mantine/core";
import { Icon } from "../../components/icons";

interface Options {
  /** The request that is under way. */
  running: AbortController | null;
  /** Whether there is nothing to send yet. */
  disabled: boolean;
}

/** Sends the form around it, or stops the request that is under way. */
export function SendButton({ running, disabled }: Options) {
  if (running) {
    return (
      <Button color="red" variant="light" leftSection={<Icon name="stop" size={14} />} onClick={() => running.abort()}>
        Stop
      </Button>
    );
  }
  return (
    <Button type="submit" leftSection={<Icon name="send" size={14} />} disabled={disabled}>
      Send
    </Button>
  );
}
