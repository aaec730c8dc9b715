import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, relative } from 'node:path';
import { run } from './command.ts';

const root = join(import.meta.dirname, '..');
const bin = join(root, 'node_modules/.bin');
/** The well-known types, shipped with protoc. Those in use are generated into every output, so that no output imports another. */
const wellKnown = join(root, 'node_modules/protoc/include');

interface ProtoRoot {
  /** Folder that the files' own imports are relative to. */
  readonly source: string;
  /** Further include folders, whose files are generated only where `also` names them. */
  readonly includes: readonly string[];
  /** Files outside `source` that its files use. */
  readonly also: readonly string[];
  /** Files of `source` that hold nothing but options of other files. */
  readonly skip: readonly string[];
  /** Where the TypeScript goes: generated as a whole, nothing else lives there. */
  readonly output: string;
}

/** Every folder of interface files and the folder of TypeScript made from it. */
const protoRoots: readonly ProtoRoot[] = [
  { source: 'agent/proto', includes: [], also: [], skip: [], output: 'agent/proto/gen' },
  {
    source: 'third_party/containerd',
    includes: ['third_party/googleapis'],
    also: ['any', 'empty', 'field_mask', 'timestamp'].map((name) => `google/protobuf/${name}.proto`).concat('google/rpc/status.proto'),
    skip: ['types/fieldpath.proto'],
    output: 'agent/containerd/gen',
  },
];

/**
 * Plain erasable TypeScript for Node's type stripping: enums as constants, oneofs as `{ $case, value }`, 64-bit integers as numbers
 * (one that a number cannot hold exactly is an error when read), services and clients for grpc-js.
 */
const tsProtoOptions = [
  'outputServices=grpc-js',
  'outputJsonMethods=false',
  'oneof=unions-value',
  'forceLong=number',
  'env=node',
  'esModuleInterop=true',
  'importSuffix=.ts',
  'enumsAsLiterals=true',
  'emitImportedFiles=false',
];

/** All generated TypeScript: path relative to the repository → content. */
export async function generate(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const protoRoot of protoRoots)
    for (const [path, content] of await generateRoot(protoRoot)) files.set(join(protoRoot.output, path), content);
  return files;
}

async function generateRoot(protoRoot: ProtoRoot): Promise<ReadonlyMap<string, string>> {
  const scratch = await mkdtemp(join(tmpdir(), 'berth-proto-'));
  try {
    const source = join(root, protoRoot.source);
    const protos = (await filesUnder(source)).filter((path) => path.endsWith('.proto') && !protoRoot.skip.includes(path));
    const args = [
      `--plugin=protoc-gen-ts_proto=${join(bin, 'protoc-gen-ts_proto')}`,
      ...[source, ...protoRoot.includes.map((folder) => join(root, folder)), wellKnown].map((folder) => `-I${folder}`),
      `--ts_proto_out=${scratch}`,
      `--ts_proto_opt=${tsProtoOptions.join(',')}`,
    ];
    // protoc starts the plugin by its `#!/usr/bin/env node` line: it is to be this Node.
    const env = { PATH: [dirname(process.execPath), process.env.PATH].join(delimiter) };
    await run(process.execPath, [join(bin, 'protoc'), ...args, ...protos, ...protoRoot.also], { env });
    const entries = (await filesUnder(scratch)).map(async (path) => [path, await readFile(join(scratch, path), 'utf8')] as const);
    return new Map(await Promise.all(entries));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function filesUnder(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}
