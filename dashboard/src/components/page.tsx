import { Skeleton } from "@mantine/core";
import type { ReactNode } from "react";
import classes from "./page.module.css";

/** A page's name, one line on what it is for, and what can be done on it. */
export function Head({ title, lead, children }: { title: string; lead?: ReactNode; children?: ReactNode }) {
  return (
    <div className={classes.head}>
      <div>
        <h1>{title}</h1>
        {lead && <p>{lead}</p>}
      </div>
      {children && <div className={classes.actions}>{children}</div>}
    </div>
  );
}

export function Card({
  title,
  note,
  action,
  children,
  flush,
}: {
  title?: ReactNode;
  note?: ReactNode;
  action?: ReactNode;
  children: ReactNode;
  flush?: boolean;
}) {
  return (
    <section className={classes.card} data-flush={flush || undefined}>
      {title !== undefined && (
        <header className={classes.cardHead}>
          <h2>{title}</h2>
          {note && <span className={classes.note}>{note}</span>}
          {action && <div className={classes.cardAction}>{action}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

/** A table that may be wider or taller than its place: it scrolls, by keyboard too. */
export function Scroll({ label, tall, children }: { label: string; tall?: boolean; children: ReactNode }) {
  return (
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- what scrolls must be reached by the arrow keys
    <div className={classes.scroll} data-tall={tall} role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}

/** Grey bars where something will stand. */
export function Loading({ rows = 4, height = 44 }: { rows?: number; height?: number }) {
  return (
    <div className={classes.loading} role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, at) => (
        <Skeleton key={at} height={height} radius="md" />
      ))}
    </div>
  );
}

type Tone = "ok" | "warn" | "bad" | "info" | "plain";

export function Tag({ tone = "plain", title, children }: { tone?: Tone; title?: string; children: ReactNode }) {
  return (
    <span className={classes.tag} data-tone={tone} title={title}>
      {children}
    </span>
  );
}
