import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CAPABILITIES } from '../agent/security/capabilities.ts';
import { BerthError } from '../process/errors.ts';
import { run } from './command.ts';

const program = join(import.meta.dirname, 'seccomp');
const seccompPackage = 'github.com/containerd/containerd/v2/contrib/seccomp';
/** Go's name of an architecture, which is also Node's except for the first: the file is named as Node says it. */
const architectures = [
  { go: 'amd64', node: 'x64' },
  { go: 'arm64', node: 'arm64' },
] as const;

/** containerd's default profile for the sandboxes' capabilities, one file per architecture. */
export async function generate(): Promise<Map<string, string>> {
  const scratch = await mkdtemp(join(tmpdir(), 'berth-seccomp-'));
  try {
    const env = { GOWORK: 'off', GOFLAGS: '-mod=readonly', CGO_ENABLED: '0' };
    const folder = await run('go', ['list', '-f', '{{.Dir}}', seccompPackage], { cwd: program, env });
    const files = new Map<string, string>();
    for (const { go, node } of architectures) {
      const overlay = await overlayFor(go, join(folder, 'seccomp_default.go'), scratch);
      const binary = join(scratch, `seccomp-${go}`);
      await run('go', ['build', '-overlay', overlay, '-o', binary, '.'], { cwd: program, env });
      files.set(`agent/security/gen/seccomp-${node}.json`, `${await run(binary, CAPABILITIES)}\n`);
    }
    return files;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * containerd's function asks for the architecture that it runs on. Here the compiler sees its source with another answer, in the place
 * of our package `profile`, so that any machine generates all of them.
 */
async function overlayFor(architecture: string, source: string, scratch: string): Promise<string> {
  const original = await readFile(source, 'utf8');
  if (!original.includes('runtime.GOARCH'))
    throw new BerthError('GenerateFailed', `${source} does not ask for runtime.GOARCH any more: see how it chooses the architecture.`);
  const changed = original
    .replace(/^package seccomp$/m, 'package profile')
    .replace(/^\t"runtime"\n/m, '')
    .replaceAll('runtime.GOARCH', JSON.stringify(architecture));
  const replacement = join(scratch, `profile-${architecture}.go`);
  const overlay = join(scratch, `overlay-${architecture}.json`);
  await writeFile(replacement, changed);
  await writeFile(overlay, JSON.stringify({ Replace: { [join(program, 'profile/profile.go')]: replacement } }));
  return overlay;
}
