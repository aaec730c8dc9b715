import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { sandboxManifestSchema } from '../../crds/sandbox.ts';
import { parseObjects } from '../harness/manifests.ts';
import { startTimeoutMs, World } from './world.ts';

const repository = join(import.meta.dirname, '..', '..');

/** The shell blocks of a page that are marked as tested; in README, those of the quick start. */
function blocksOf(page: string): readonly string[] {
  const text = readFileSync(join(repository, page), 'utf8');
  const [section = '', fence] =
    page === 'README.md'
      ? [text.split(/^## /m).find((part) => part.startsWith('Quick start')), /^```sh\n([^]*?)^```$/gm]
      : [text, /^```sh tested\n([^]*?)^```$/gm];
  return [...section.matchAll(fence)].map(([, block = '']) => block);
}

/** What `make up` gives, this test gives in another way. */
const isSetUp = (line: string) => line.startsWith('make up') || line.startsWith('export KUBECONFIG=');

describe('the commands in the documentation', () => {
  let world: World;
  let clone: string;
  beforeAll(async () => {
    world = await World.start({ backups: true, runners: ['runner-1', 'runner-2'] });
    clone = mkdtempSync(join(tmpdir(), 'berth-docs-'));
    mkdirSync(join(clone, 'examples'));
    // Folders are examples that have a README and a test of their own.
    for (const name of readdirSync(join(repository, 'examples')).filter((one) => one.endsWith('.yaml'))) {
      const example = readFileSync(join(repository, 'examples', name), 'utf8');
      writeFileSync(join(clone, 'examples', name), example.replaceAll(/127\.0\.0\.1:\d+/g, world.cluster.registry.address));
    }
  }, startTimeoutMs);
  afterAll(async () => {
    rmSync(clone, { recursive: true, force: true });
    await world.stop();
  }, startTimeoutMs);

  it('docs/tasks.md: the commands work as they stand there, one after another', async () => {
    const blocks = blocksOf('docs/tasks.md');
    expect(blocks.length).toBeGreaterThan(3);
    const [operator] = world.cluster.operators;
    const script = blocks
      .map((block, index) => `echo "block ${index}"\n${block}`)
      .join('\n')
      .replaceAll('127.0.0.1:3001', operator?.address ?? '')
      .replaceAll('127.0.0.1:3004', world.cluster.registry.address);
    const env = { KUBECONFIG: world.cluster.kubeconfig, PATH: `${dirname(world.cluster.tools.kubectl)}:${process.env.PATH ?? ''}` };
    const options = { cwd: clone, env, reject: false, all: true } as const;
    const { exitCode, all } = await execa('bash', ['-e', '-u', '-o', 'pipefail', '-c', script], options);
    expect({ exitCode, all }).toMatchObject({ exitCode: 0, all: expect.stringContaining('"outcome":"Cancelled"') as unknown });
  });

  it.each(['README.md', 'docs/guide.md'])('%s: every command works as it stands there', async (page) => {
    const blocks = blocksOf(page);
    expect(blocks.length).toBeGreaterThan(2);
    const env = { KUBECONFIG: world.cluster.kubeconfig, PATH: `${dirname(world.cluster.tools.kubectl)}:${process.env.PATH ?? ''}` };
    for (const block of blocks) {
      const commands = block.split('\n').filter((line) => !isSetUp(line));
      const { exitCode, all } = await execa('bash', ['-e', '-u', '-c', commands.join('\n')], { cwd: clone, env, reject: false, all: true });
      expect({ block, exitCode, all }).toMatchObject({ exitCode: 0 });
    }
    await world.user.kubectl('delete', 'sandboxes', '--all', '--timeout=180s');
    for (const { name } of world.cluster.runners) await world.user.patchRunner(name, { unschedulable: false });
  });

  it('every example is taken by the API server and becomes what it asks for', async () => {
    const files = readdirSync(join(clone, 'examples')).filter((name) => name.endsWith('.yaml'));
    const runnersFirst = files.toSorted((a, b) => Number(b.startsWith('runner')) - Number(a.startsWith('runner')));
    for (const file of runnersFirst) await world.user.kubectl('apply', '-f', join(clone, 'examples', file));
    const sandboxes = files
      .flatMap((file) => parseObjects(readFileSync(join(clone, 'examples', file), 'utf8')))
      .filter(({ kind }) => kind === 'Sandbox')
      .map((object) => sandboxManifestSchema.parse(object));
    expect(sandboxes.length).toBeGreaterThan(3);
    for (const { metadata, spec } of sandboxes) {
      const ended = spec.restartPolicy === 'Never' || spec.desiredState === 'Stopped';
      await world.user.untilState({ name: metadata.name ?? '' }, ended ? 'Stopped' : 'Started');
    }
    await world.user.kubectl('delete', 'sandboxes', '--all', '--timeout=180s');
  });
});
