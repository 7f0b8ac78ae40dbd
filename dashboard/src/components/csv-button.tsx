import { Button } from "@mantine/core";
import { toCsv, type Cell } from "../csv";

/** Downloads a table as a file of comma-separated values. */
export function CsvButton({ name, header, rows }: { name: string; header: string[]; rows: Cell[][] }) {
  return (
    <Button
      variant="default"
      size="compact-xs"
      aria-label={`Download ${name} as CSV`}
      disabled={rows.length === 0}
      onClick={() => download(`tollfree-${name}.csv`, toCsv(header, rows))}
    >
      CSV
    </Button>
  );
}

function download(name: string, text: string) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
