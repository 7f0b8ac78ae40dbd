import { ActionIcon, Tooltip, useMantineColorScheme } from "@mantine/core";
import { useEffect, useState, type ReactNode } from "react";
import { Link, useLocation, useRoute } from "wouter";
import { api, session } from "../api";
import { Freshness, OutageBanner, StaleBanner } from "./freshness";
import { Icon, type IconName } from "./icons";
import classes from "./shell.module.css";

const PAGES: [path: string, name: string, icon: IconName][] = [
  ["/", "Pool", "pool"],
  ["/requests", "Requests", "requests"],
  ["/usage", "Usage", "usage"],
  ["/clients", "Clients", "clients"],
  ["/providers", "Providers", "key"],
  ["/models", "Models", "models"],
  ["/playground", "Playground", "playground"],
  ["/settings", "Settings", "settings"],
  ["/start", "Get started", "start"],
];

export function Shell({ children }: { children: ReactNode }) {
  const [path] = useLocation();
  const [open, setOpen] = useState(false);
  const name = PAGES.find(([at]) => (at === "/" ? path === "/" : path.startsWith(at)))?.[1] ?? "Tollfree";
  useEffect(() => {
    document.title = `${name} · Tollfree`;
  }, [name]);
  return (
    <div className={classes.shell}>
      <a className={classes.skip} href="#main">
        Skip to content
      </a>
      <header className={classes.bar}>
        <button
          type="button"
          className={classes.burger}
          aria-label="Menu"
          aria-expanded={open}
          aria-controls="pages"
          onClick={() => setOpen(!open)}
        >
          <Icon name={open ? "close" : "menu"} size={20} />
        </button>
        <Link href="/" className={classes.brand}>
          <Logo />
          Tollfree
        </Link>
        <nav id="pages" aria-label="Pages" className={classes.pages} data-open={open || undefined}>
          {PAGES.map(([to, label, icon]) => (
            <PageLink key={to} to={to} label={label} icon={icon} onNavigate={() => setOpen(false)} />
          ))}
        </nav>
        <div className={classes.side}>
          <Freshness />
          <SchemeSwitch />
          <Tooltip label="Log out">
            <ActionIcon variant="subtle" color="gray" aria-label="Log out" onClick={() => void logOut()}>
              <Icon name="logout" />
            </ActionIcon>
          </Tooltip>
        </div>
      </header>
      <main id="main" tabIndex={-1} className={classes.main}>
        <StaleBanner />
        <OutageBanner />
        {children}
      </main>
    </div>
  );
}

function PageLink({
  to,
  label,
  icon,
  onNavigate,
}: {
  to: string;
  label: string;
  icon: IconName;
  onNavigate: () => void;
}) {
  const [here] = useRoute(to === "/" ? to : `${to}/*?`);
  return (
    <Link href={to} className={classes.page} aria-current={here ? "page" : undefined} onClick={onNavigate}>
      <Icon name={icon} />
      {label}
    </Link>
  );
}

async function logOut() {
  await api.DELETE("/admin/v1/session").catch(() => {});
  session.set(null);
}

/** For each colour scheme: the next one, its label and its icon. */
const SCHEMES = {
  auto: ["light", "System", "auto"],
  light: ["dark", "Light", "sun"],
  dark: ["auto", "Dark", "moon"],
} as const;

function SchemeSwitch() {
  const { colorScheme, setColorScheme } = useMantineColorScheme({ keepTransitions: true });
  const [next, label, icon] = SCHEMES[colorScheme];
  return (
    <Tooltip label={`Colours: ${label}`}>
      <ActionIcon
        variant="subtle"
        color="gray"
        aria-label={`Colours: ${label}. Change`}
        onClick={() => setColorScheme(next)}
      >
        <Icon name={icon} />
      </ActionIcon>
    </Tooltip>
  );
}

export function Logo({ size = 22 }: { size?: number }) {
  return (
    <svg aria-hidden width={size} height={size} viewBox="0 0 32 32">
      <rect width="32" height="32" rx="7" fill="#0b7049" />
      <path d="M7 22 22.5 9.5M8 23.5h16" stroke="#fff" strokeWidth="3.2" strokeLinecap="round" />
      <circle cx="24" cy="8.6" r="2.6" fill="#ffd166" />
    </svg>
  );
}
