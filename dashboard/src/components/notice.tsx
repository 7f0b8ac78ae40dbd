import { Button } from "@mantine/core";
import type { ReactNode } from "react";
import { ApiError } from "../api";
import { duration } from "../format";
import { Icon, type IconName } from "./icons";
import classes from "./notice.module.css";

interface EmptyProps {
  icon: IconName;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}

/** Shown in place of an empty list, with a hint what to do about it. */
export function Empty({ icon, title, children, action }: EmptyProps) {
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

/** An error with the gateway's message and a button to retry. `fullPage`: nothing else is on the page. */
export function Failure({ error, retry, fullPage }: { error: unknown; retry?: () => void; fullPage?: boolean }) {
  const apiError = error instanceof ApiError ? error : null;
  return (
    <div className={classes.notice} role="alert" data-full-page={fullPage || undefined}>
      <span className={classes.icon} data-bad>
        <Icon name="warning" size={22} />
      </span>
      <h2>{title(apiError)}</h2>
      <p>
        {apiError?.status === 0 ? "It may be restarting, or your network may be down." : message(error)}
        {typeof apiError?.retryAfterMs === "number" && ` Try again in ${duration(apiError.retryAfterMs)}.`}
      </p>
      {apiError?.problem.code && <code>{apiError.problem.code}</code>}
      {retry && (
        <Button variant="default" size="xs" leftSection={<Icon name="reset" size={14} />} onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

function title(error: ApiError | null): string {
  if (error === null) return "Something went wrong";
  return error.status === 0 ? "The gateway cannot be reached" : `The gateway responded with ${error.status}`;
}

const message = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** The error of a form or of a button, beside it. */
export function Problem({ error }: { error: Error | null }) {
  if (!error) return null;
  return (
    <p className={classes.problem} role="alert">
      {error.message}
    </p>
  );
}
