import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Registry } from '../harness/registry.ts';
import { TokenServer } from '../harness/token-server.ts';
import { remembering } from './a-sandbox.ts';
import { cordon, isBackedUp } from './crash/moves.ts';
import { newestBackup } from './registry-of.ts';
import { stateOf } from './user.ts';
import { pullSecret, startTimeoutMs, World } from './world.ts';

const [origin, target] = ['runner-1', 'runner-2'] as const;
/** The operator's own, and those that only a Secret of the sandbox has. */
const own = { username: 'berth', password: 'let-the-operator-in', below: 'backups' };
const users = { username: 'user', password: 'let-the-user-in', below: 'backups' };

describe('backups in a registry with TLS that asks for tokens', () => {
  let world: World;
  let tokens: TokenServer;
  let registry: Registry;
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'berth-secure-'));
    const hosts = join(directory, 'hosts');
    world = await World.start({ runners: [origin, target], agentEnv: { BERTH_REGISTRY_CONFIG_DIR: hosts } });
    const { authority, operators } = world.cluster;
    tokens = await TokenServer.start(authority, [own, users]);
    registry = await world.cluster.addRegistry('secure', { tls: authority, tokens });
    await mkdir(join(hosts, registry.address), { recursive: true });
    await writeFile(
      join(hosts, registry.address, 'hosts.toml'),
      `server = "https://${registry.address}"\n[host."https://${registry.address}"]\n  ca = "${authority.caFile}"\n`,
    );
    await credentials(own);
    for (const operator of operators) {
      operator.setEnvironment({
        BERTH_BACKUP_REPOSITORY: `${registry.address}/backups`,
        BERTH_BACKUP_CA: authority.caFile,
        BERTH_BACKUP_CREDENTIALS_FILE: join(directory, 'config.json'),
        BERTH_PATIENCE_SECONDS: '2',
      });
      await operator.restart();
    }
    await world.connected();
  }, startTimeoutMs);
  afterAll(async () => {
    await tokens.close();
    await world.stop();
    await rm(directory, { recursive: true, force: true });
  }, startTimeoutMs);

  /** What the operator is given: the mounted key of a Secret. */
  const credentials = async (account: { readonly username: string; readonly password: string } | undefined) => {
    const auth = account && Buffer.from(`${account.username}:${account.password}`).toString('base64');
    const auths = auth === undefined ? {} : { [registry.address]: { auth } };
    await writeFile(join(directory, 'config.json'), JSON.stringify({ auths }), { mode: 0o600 });
  };
  const moved = async (name: string) => {
    await cordon(world, target, false);
    await cordon(world, origin);
    await world.user.patch({ name }, { desiredState: 'Started' });
    const sandbox = await world.user.untilState({ name }, 'Started');
    expect(sandbox.status.runnerName).toBe(target);
    expect(await world.boots(name, 2)).toBe(2);
    await cordon(world, origin, false);
  };

  it.each([
    { whose: "the operator's own credentials", name: 'with-own', account: own, secrets: [] },
    { whose: 'those of a Secret that only the sandbox has', name: 'with-secret', account: users, secrets: [{ name: 'backups' }] },
  ])('are made, moved, read back, archived and removed with $whose', async ({ name, account, secrets }) => {
    await credentials(secrets.length === 0 ? own : undefined);
    await world.user.apply(pullSecret('backups', registry.address, users));
    await cordon(world, target);
    const manifest = remembering(name, world.image);
    await world.user.create({ ...manifest, spec: { ...manifest.spec, imagePullSecrets: secrets } });
    await world.user.untilState({ name }, 'Started');
    await world.boots(name);
    const asked = tokens.asked.length;
    await world.user.patch({ name }, { desiredState: 'Stopped' });
    const record = newestBackup(
      await world.user.until({ name }, 'is backed up', (sandbox) => stateOf(sandbox) === 'Stopped' && isBackedUp(sandbox)),
    );
    expect(record.repository).toBe(`${registry.address}/backups/default.${name}`);
    await moved(name);
    await world.user.patch({ name }, { desiredState: 'Archived' });
    await world.user.untilState({ name }, 'Archived');
    expect(tokens.asked.slice(asked).filter((username) => username !== '')).toContain(account.username);
    expect(new Set(tokens.asked.slice(asked))).not.toContain(account === own ? users.username : own.username);
    await world.user.delete({ name });
    const served = registry.accessLog().filter((line) => line.includes(`DELETE /v2/backups/default.${name}/manifests/`));
    expect(served.some((line) => line.includes(' 202 '))).toBe(true);
  });

  it('say that they may not, and are made when the credentials are right', async () => {
    await credentials({ ...own, password: 'wrong' });
    await world.user.create(remembering('refused', world.image));
    await world.user.untilState({ name: 'refused' }, 'Started');
    await world.user.patch({ name: 'refused' }, { desiredState: 'Stopped' });
    const failing = await world.user.until({ name: 'refused' }, 'says why', ({ status }) => status.backup?.operation?.reason !== undefined);
    expect(failing.status.backup?.operation?.reason).toBe('ImageUnauthorized');
    expect(JSON.stringify(failing.status)).not.toContain('wrong');
    await credentials(own);
    await world.user.until({ name: 'refused' }, 'is backed up', isBackedUp);
    await world.user.delete({ name: 'refused' });
  });
});
