import { expect, test } from "vitest";
import { toCsv } from "./csv";

test("cells are quoted where they have to be, and none becomes a formula", () => {
  expect(
    toCsv(
      ["name", "requests"],
      [
        ["ann, from sales", 1.5],
        ['say "hi"\n', null],
        ["=1+1", -2],
        ["plain", 0],
      ],
    ),
  ).toBe('name,requests\r\n"ann, from sales",1.5\r\n"say ""hi""\n",\r\n\'=1+1,-2\r\nplain,0\r\n');
});
