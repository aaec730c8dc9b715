import { runnerManifestSchema } from '../runner.ts';
import { sandboxManifestSchema } from '../sandbox.ts';
import { RUNNER_KIND, SANDBOX_KIND } from '../names.ts';
import { runnerBase, sandboxBase } from './bases.ts';
import { runnerRows } from './runner-rows.ts';
import { sandboxSpecRows } from './sandbox-spec-rows.ts';
import { sandboxStatusRows } from './sandbox-status-rows.ts';

export * from './row.ts';

/** The rows of each kind, with the object in which they set their field. */
export const tables = [
  { names: SANDBOX_KIND, manifest: sandboxManifestSchema, base: sandboxBase, rows: [...sandboxSpecRows, ...sandboxStatusRows] },
  { names: RUNNER_KIND, manifest: runnerManifestSchema, base: runnerBase, rows: runnerRows },
] as const;
