import { Skeleton } from "@mantine/core";
import type { ReactNode } from "react";
import classes from "./page.module.css";

/** The heading of a page: its name, a sentence on its purpose, and its controls. */
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

interface CardProps {
  title?: ReactNode;
  note?: ReactNode;
  action?: ReactNode;
  children: ReactNode;
  /** Without padding, for a table that reaches the edges. */
  flush?: boolean;
}

export function Card({ title, note, action, children, flush }: CardProps) {
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

/** A scrollable area for a table that may be wider or taller than the page. It also scrolls by keyboard. */
export function Scroll({ label, tall, children }: { label: string; tall?: boolean; children: ReactNode }) {
  return (
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrollable area must be reachable by keyboard
    <div className={classes.scroll} data-tall={tall} role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}

/** Placeholder bars while data loads. */
export function Loading({ rows = 4, height = 44, padded }: { rows?: number; height?: number; padded?: boolean }) {
  return (
    <div className={classes.loading} role="status" aria-label="Loading" data-padded={padded || undefined}>
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
