import { settingsOf, type ConfigSchema } from '../process/config.ts';

/** The reference page of settings: a table for each binary. */
export function settingsReference(binaries: Readonly<Record<string, ConfigSchema>>): string {
  return [
    '# Settings',
    'A setting is a flag or a variable of the environment; the flag wins. `--help` prints this list. What is wrong is said at the start, all of it at once, and the process ends with status 2.',
    ...Object.entries(binaries).map(([name, schema]) => section(name, schema)),
  ]
    .join('\n\n')
    .concat('\n');
}

function section(name: string, schema: ConfigSchema): string {
  const rows = settingsOf(schema).map(
    (setting) => `| \`${setting.flag}\` | \`${setting.variable}\` | ${standard(setting.default)} | ${cell(setting.description)} |`,
  );
  return [`## ${name}`, '', '| Flag | Variable | Default | What it is |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

function standard(value: string): string {
  return value === 'required' ? 'required' : value === '' ? '' : `\`${value}\``;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
}
