import { TextInput, type TextInputProps } from "@mantine/core";

interface Props extends Omit<TextInputProps, "value" | "onChange" | "type"> {
  value: number | null;
  set: (value: number | null) => void;
  min: number;
  max?: number;
  step?: number | "any";
}

/** The browser's number field. An empty field is `null`. */
export function NumberField({ value, set, step = 1, ...rest }: Props) {
  return (
    <TextInput
      {...rest}
      type="number"
      inputMode={step === 1 ? "numeric" : "decimal"}
      step={step}
      value={value ?? ""}
      onChange={(event) =>
        set(Number.isNaN(event.currentTarget.valueAsNumber) ? null : event.currentTarget.valueAsNumber)
      }
    />
  );
}
