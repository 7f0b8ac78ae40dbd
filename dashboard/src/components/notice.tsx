import { Button } from "@mantine/core";
import type { ReactNode } from "react";
import { Refusal } from "../api";
import { span } from "../format";
import { Icon, type IconName } from "./icons";
import classes from "./notice.module.css";

/** Nothing to show, and what to do about it. */
export function Empty({
  icon,
  title,
  children,
  action,
}: {
  icon: IconName;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className={classes.notice}>
      <span className={classes.icon}>
        <Icon name={icon} size={22} />
      </span>
      <h2>{title}</h2>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

/** What the gateway said, in its own words, and a way to try again. */
export function Failure({ error, retry, whole }: { error: unknown; retry?: () => void; whole?: boolean }) {
  const refusal = error instanceof Refusal ? error : null;
  const title =
    refusal === null
      ? "Something went wrong"
      : refusal.status === 0
        ? "The gateway cannot be reached"
        : `The gateway answered ${refusal.status}`;
  const message = error instanceof Error ? error.message : String(error);
  return (
    <div className={classes.notice} role="alert" data-whole={whole || undefined}>
      <span className={classes.icon} data-bad>
        <Icon name="warning" size={22} />
      </span>
      <h2>{title}</h2>
      <p>
        {refusal?.status === 0 ? "It may be restarting, or your network may be away." : message}
        {typeof refusal?.retryAfterMs === "number" && ` Try again in ${span(refusal.retryAfterMs)}.`}
      </p>
      {refusal?.problem.code && <code>{refusal.problem.code}</code>}
      {retry && (
        <Button variant="default" size="xs" leftSection={<Icon name="reset" size={14} />} onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}
