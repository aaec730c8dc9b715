import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { httpErrors } from '../operator/http/error-table.ts';

/**
 * Reference pages of what stands only in the code: metrics and error codes. Read from its syntax tree, so that nothing has to be listed twice and a page
 * cannot lack one.
 */

const root = join(import.meta.dirname, '..');
/** Folder → what it is to a reader of the page. */
const parts = {
  operator: 'Operator',
  agent: 'Agent',
  kube: 'Kubernetes client and controllers, in both',
  process: 'Every process',
} as const;
/** A part of a text that is not known before it is written. */
const varies = '…';

type Row = readonly string[];
/** What is read from one node of the tree; undefined from most. */
type Read = (node: ts.Node, file: ts.SourceFile) => Row | undefined;

export function metricReference(): string {
  return page('# Metrics', 'What `/metrics` on the health port tells, beside what the Prometheus client says of Node itself.', {
    columns: ['Name', 'Type', 'Labels', 'What it is'],
    read: metricOf,
  });
}

export function errorReference(): string {
  const text = page(
    '# Error codes',
    'Every error of a process has a code that stays the same (field `err.code` of its log line) and a message for a person; `…` stands for what varies. Errors that end in the status of a sandbox are in [reasons](reasons.md).',
    { columns: ['Code', 'Message'], read: errorOf },
  );
  return `${text}\n${answerReference()}`;
}

/** What the HTTP API answers: its table is a value. */
function answerReference(): string {
  const rows = Object.entries(httpErrors).map(([code, { status, message, ...row }]) => {
    const retry = 'retryAfter' in row ? `${row.retryAfter} s` : '';
    return `| ${[`\`${code}\``, String(status), retry, message].map(escape).join(' | ')} |`;
  });
  return [
    '## Answers of the HTTP API',
    '',
    'The field `error.code` of the body. Those with Retry-After may succeed later by themselves; an answer may know a better time than the one here.',
    '',
    '| Code | Status | Retry-After | Message |',
    '| --- | --- | --- | --- |',
    ...rows.toSorted(),
  ]
    .join('\n')
    .concat('\n');
}

function page(title: string, text: string, { columns, read }: { readonly columns: Row; readonly read: Read }): string {
  const sections = Object.entries(parts).flatMap(([folder, name]) => {
    const rows = rowsOf(folder, read).map((cells) => `| ${cells.map(escape).join(' | ')} |`);
    const head = [`| ${columns.join(' | ')} |`, `| ${columns.map(() => '---').join(' | ')} |`];
    return rows.length === 0 ? [] : [[`## ${name}`, '', ...head, ...rows].join('\n')];
  });
  return [title, text, ...sections].join('\n\n').concat('\n');
}

/** The rows that the product's files of a folder give, sorted, each once. */
function rowsOf(folder: string, read: Read): readonly Row[] {
  const paths = globSync(`${folder}/**/*.ts`, { cwd: root }).filter((path) => !/\.test\.ts$|\/gen\/|\/(fake|memory|an?)-[^/]*$/.test(path));
  const rows = paths.flatMap((path) => {
    const file = ts.createSourceFile(path, readFileSync(join(root, path), 'utf8'), ts.ScriptTarget.Latest, true);
    return nodesOf(file).flatMap((node) => {
      const row = read(node, file);
      return row === undefined ? [] : [row];
    });
  });
  return [...new Map(rows.map((row) => [row.join('\n'), row])).values()].toSorted((one, other) =>
    one.join('\n') < other.join('\n') ? -1 : 1,
  );
}

function nodesOf(node: ts.Node): readonly ts.Node[] {
  return [node, ...node.getChildren().flatMap(nodesOf)];
}

/** `metrics.counter({ name: '…', help: '…', labels: […] })`. */
function metricOf(node: ts.Node, file: ts.SourceFile): Row | undefined {
  if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return undefined;
  const type = node.expression.name.text;
  const [options] = node.arguments;
  if (!['counter', 'gauge', 'histogram'].includes(type) || options === undefined || !ts.isObjectLiteralExpression(options))
    return undefined;
  const property = (name: string) => options.properties.find((one) => one.name?.getText() === name);
  const value = (name: string) => {
    const found = property(name);
    return found !== undefined && ts.isPropertyAssignment(found) ? found.initializer : undefined;
  };
  const labels = value('labels') ?? (property('labels') === undefined ? undefined : constant('labels', file));
  const names = labels !== undefined && ts.isArrayLiteralExpression(labels) ? labels.elements.map((label) => `\`${textOf(label)}\``) : [];
  return [`\`${textOf(value('name'))}\``, type, names.join(', '), textOf(value('help'))];
}

/** `new SomeError('Code', message)`, `super('Code', message)` of a class of errors, and a code that a type lists because it comes from outside. */
function errorOf(node: ts.Node): Row | undefined {
  if (ts.isLiteralTypeNode(node)) return listedCode(node);
  const isNew = ts.isNewExpression(node) && node.expression.getText().endsWith('Error') && node.expression.getText() !== 'ApiError';
  const isSuper = ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.SuperKeyword;
  if (!isNew && !isSuper) return undefined;
  const [code, message] = node.arguments ?? [];
  if (code === undefined || message === undefined || !ts.isStringLiteral(code)) return undefined;
  return [`\`${code.text}\``, textOf(message)];
}

/** A member of `type SomeErrorCode = 'Code' | …`, with the comment above it. */
function listedCode(node: ts.LiteralTypeNode): Row | undefined {
  const union = node.parent;
  if (!ts.isUnionTypeNode(union) || !ts.isTypeAliasDeclaration(union.parent) || !ts.isStringLiteral(node.literal)) return undefined;
  if (union.parent.name.text !== 'KubeErrorCode') return undefined;
  const text = node.getSourceFile().text.slice(union.types[union.types.indexOf(node) - 1]?.end ?? union.getStart(), node.getStart());
  const comment = [...text.matchAll(/\/\*\* (.*) \*\//g)].map(([, words = '']) => words).join(' ');
  return [`\`${node.literal.text}\``, comment === '' ? 'As the API server answered.' : comment];
}

function constant(name: string, file: ts.SourceFile): ts.Expression | undefined {
  return nodesOf(file)
    .filter(ts.isVariableDeclaration)
    .find((declaration) => declaration.name.getText() === name)?.initializer;
}

function textOf(node: ts.Node | undefined): string {
  if (node === undefined) return varies;
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isTemplateExpression(node)) return node.head.text + node.templateSpans.map((span) => varies + span.literal.text).join('');
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) return textOf(node.left) + textOf(node.right);
  return varies;
}

function escape(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ');
}
