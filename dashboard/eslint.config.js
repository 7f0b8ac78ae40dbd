import js from "@eslint/js";
import a11y from "eslint-plugin-jsx-a11y";
import hooks from "eslint-plugin-react-hooks";
import ts from "typescript-eslint";

export default ts.config(
  { ignores: ["dist", "src/openapi.d.ts"] },
  js.configs.recommended,
  ts.configs.recommendedTypeChecked,
  a11y.flatConfigs.recommended,
  hooks.configs.flat.recommended,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/no-misused-promises": ["error", { checksVoidReturn: { attributes: false } }],
      // A dialog focuses its first field.
      "jsx-a11y/no-autofocus": "off",
      eqeqeq: "error",
      "no-console": "error",
    },
  },
  {
    // Node scripts have no type information.
    files: ["**/*.js", "**/*.mjs"],
    ...ts.configs.disableTypeChecked,
    languageOptions: {
      ...ts.configs.disableTypeChecked.languageOptions,
      globals: {
        process: "readonly",
        console: "readonly",
        fetch: "readonly",
        URL: "readonly",
        setTimeout: "readonly",
        clearTimeout: "readonly",
        performance: "readonly",
        document: "readonly",
        window: "readonly",
        PerformanceObserver: "readonly",
        Buffer: "readonly",
        requestAnimationFrame: "readonly",
        localStorage: "readonly",
        sessionStorage: "readonly",
      },
    },
    rules: { ...ts.configs.disableTypeChecked.rules, "no-console": "off" },
  },
);
