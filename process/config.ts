import { z } from 'zod';
import { isSecretKey } from './log.ts';

/**
 * Configuration of a binary: one zod object over strings. A field `leaseSeconds` is the flag `--lease-seconds` and the variable
 * `BERTH_LEASE_SECONDS`; flags win over the environment, the environment over defaults. Fields describe themselves with `.describe()`
 * as the last call and take strings: `z.coerce.number()`, `z.stringbool()`, `listOf(z.string())`.
 */
export type ConfigSchema = z.ZodObject;

export interface ConfigSource {
  /** Arguments after the program's name. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

export type ParsedConfig<T> =
  | { readonly kind: 'config'; readonly config: T }
  /** `--help` was asked for. */
  | { readonly kind: 'help' }
  /** One sentence for each thing that is wrong, naming the variable or flag. */
  | { readonly kind: 'invalid'; readonly issues: readonly string[] };

/** A row of the reference of settings. */
export interface Setting {
  readonly flag: string;
  readonly variable: string;
  readonly description: string;
  /** `required`, empty for an optional setting, or the default as text. */
  readonly default: string;
}

/** Comma-separated values; empty ones are left out. */
export function listOf<T>(item: z.ZodType<T, string>) {
  return z
    .string()
    .transform((text) =>
      text
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== ''),
    )
    .pipe(z.array(item));
}

/** Reads every setting and reports every issue; has no effect. */
export function parseConfig<S extends ConfigSchema>(schema: S, source: ConfigSource): ParsedConfig<z.output<S>> {
  const flags = readFlags(schema, source.argv);
  if (flags.help) return { kind: 'help' };
  const given = new Map<string, { readonly from: string; readonly value: string }>();
  for (const key of Object.keys(schema.shape)) {
    const flag = flags.values.get(key);
    const value = flag ?? source.env[variableOf(key)];
    if (flag !== undefined || (value !== undefined && value !== '')) {
      given.set(key, { from: flag === undefined ? variableOf(key) : flagOf(key), value: value ?? '' });
    }
  }
  const parsed = schema.safeParse(Object.fromEntries([...given].map(([key, { value }]) => [key, value])));
  const wrong = parsed.success ? [] : parsed.error.issues.map((issue) => describeIssue(issue, given));
  const issues = [...flags.issues, ...wrong];
  if (!parsed.success || issues.length > 0) return { kind: 'invalid', issues };
  return { kind: 'config', config: parsed.data };
}

/** Where the process ends and speaks; tests replace it. */
export interface ConfigProcess extends ConfigSource {
  readonly write: (text: string) => void;
  readonly exit: (code: number) => never;
}

const thisProcess: ConfigProcess = {
  get argv() {
    return process.argv.slice(2);
  },
  get env() {
    return process.env;
  },
  write: (text) => process.stderr.write(text),
  exit: (code) => process.exit(code),
};

/** For main files: the configuration, or every issue on standard error and exit 2; `--help` prints the reference and exits 0. */
export function loadConfig<S extends ConfigSchema>(name: string, schema: S, from: ConfigProcess = thisProcess): z.output<S> {
  const parsed = parseConfig(schema, from);
  switch (parsed.kind) {
    case 'config':
      return parsed.config;
    case 'help':
      from.write(helpText(name, schema));
      return from.exit(0);
    case 'invalid':
      from.write(`${name}: the configuration is wrong:\n${parsed.issues.map((issue) => `  ${issue}\n`).join('')}See ${name} --help.\n`);
      return from.exit(2);
  }
}

/** Every setting of a binary in the order of its schema. */
export function settingsOf(schema: ConfigSchema): readonly Setting[] {
  return Object.entries(schema.shape).map(([key, field]) => ({
    flag: flagOf(key),
    variable: variableOf(key),
    description: (field as z.ZodType).description ?? '',
    default: defaultOf(field as z.ZodType),
  }));
}

function helpText(name: string, schema: ConfigSchema): string {
  const rows = settingsOf(schema).map((setting) => {
    const standard = setting.default === '' ? '' : ` (${setting.default === 'required' ? 'required' : `default ${setting.default}`})`;
    return `  ${setting.flag}, ${setting.variable}\n      ${setting.description}${standard}\n`;
  });
  return `Usage: ${name} [flags]\n\n${rows.join('')}`;
}

function defaultOf(field: z.ZodType): string {
  const parsed = field.safeParse(undefined);
  if (!parsed.success) return 'required';
  if (parsed.data === undefined) return '';
  return Array.isArray(parsed.data) ? parsed.data.join(',') : typeof parsed.data === 'string' ? parsed.data : JSON.stringify(parsed.data);
}

function kebab(key: string): string {
  return key
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .replace(/([A-Z]+)([A-Z][a-z])/g, '$1-$2')
    .toLowerCase();
}

function flagOf(key: string): string {
  return `--${kebab(key)}`;
}

function variableOf(key: string): string {
  return `BERTH_${kebab(key).replaceAll('-', '_').toUpperCase()}`;
}

interface Flags {
  readonly values: ReadonlyMap<string, string>;
  readonly issues: readonly string[];
  readonly help: boolean;
}

function readFlags(schema: ConfigSchema, argv: readonly string[]): Flags {
  const keys = new Map(Object.keys(schema.shape).map((key) => [flagOf(key), key]));
  const values = new Map<string, string>();
  const issues: string[] = [];
  for (let at = 0; at < argv.length; at++) {
    const [flag = '', ...rest] = (argv[at] ?? '').split('=');
    const key = keys.get(flag);
    const next = argv[at + 1];
    if (flag === '--help' || flag === '-h') return { values, issues, help: true };
    if (key === undefined) issues.push(`${flag}: there is no such flag`);
    else if (rest.length > 0) values.set(key, rest.join('='));
    else if (isSwitch(schema.shape[key] as z.ZodType)) values.set(key, 'true');
    else if (next === undefined || next.startsWith('--')) issues.push(`${flag}: a value must follow`);
    else {
      values.set(key, next);
      at++;
    }
  }
  return { values, issues, help: false };
}

/** A flag that may stand without a value. */
function isSwitch(field: z.ZodType): boolean {
  return field.safeParse('true').data === true;
}

function describeIssue(issue: z.core.$ZodIssue, given: ReadonlyMap<string, { readonly from: string; readonly value: string }>): string {
  const key = String(issue.path[0] ?? '');
  const source = given.get(key);
  if (key === '') return issue.message;
  if (source === undefined)
    return `${variableOf(key)} (or ${flagOf(key)}) ${issue.code === 'invalid_type' ? 'must be set' : `: ${issue.message}`}`;
  return `${source.from}: ${issue.message}${isSecretKey(key) ? '' : `, but it is ${JSON.stringify(source.value)}`}`;
}
