import { SourceKind, Wanted } from '../proto/gen/berth/agent/v1/agent.ts';
import type { CopyConfig, Order, Preparation } from '../proto/gen/berth/agent/v1/agent.ts';

/** Builders of messages for tests. */
export function aConfig(of: Partial<CopyConfig> = {}): CopyConfig {
  const amounts = { cpuMillis: 100, memoryBytes: 100, diskBytes: 100 };
  return {
    hash: 'c1',
    image: 'demo:1',
    imagePullPolicy: 'IfNotPresent',
    command: ['demo'],
    args: [],
    env: [],
    workingDir: '',
    requests: amounts,
    limits: amounts,
    pidsLimit: 10,
    ...of,
  };
}

export const anImage = { kind: SourceKind.SOURCE_KIND_IMAGE, digest: '' };
export const whatIsThere = { kind: SourceKind.SOURCE_KIND_LOCAL, digest: '' };
export const aBackup = (digest: string, repository = 'registry.test/backups/default.a') => ({
  kind: SourceKind.SOURCE_KIND_BACKUP,
  digest,
  repository,
});

/** An order to start contentVersion 1 as order 1. */
export function anOrder(of: Partial<Order> = {}): Order {
  return {
    uid: 'u1',
    namespace: 'default',
    name: 'a',
    epoch: 1,
    order: 1,
    storeId: 'store-1',
    bootId: 'boot-1',
    wanted: Wanted.WANTED_RUNNING,
    contentVersion: 1,
    source: anImage,
    config: aConfig(),
    graceSeconds: 0,
    credentials: [],
    secretEnv: [],
    backup: undefined,
    ...of,
  };
}

export const toStop = (order: number, of: Partial<Order> = {}) =>
  anOrder({ order, wanted: Wanted.WANTED_STOPPED, contentVersion: 0, source: undefined, config: undefined, graceSeconds: 10, ...of });

export const toRemove = (order: number, of: Partial<Order> = {}) => toStop(order, { wanted: Wanted.WANTED_ABSENT, ...of });

export const toStart = (order: number, contentVersion: number, of: Partial<Order> = {}) =>
  anOrder({ order, contentVersion, source: contentVersion > 1 ? whatIsThere : anImage, ...of });

export const toPrepare = (order: number, of: Partial<Order> = {}) =>
  anOrder({ order, wanted: Wanted.WANTED_PREPARED, contentVersion: 0, ...of });

export function aPreparation(of: Partial<Preparation> = {}): Preparation {
  return {
    uid: 'u1',
    namespace: 'default',
    name: 'a',
    epoch: 1,
    storeId: 'store-1',
    bootId: 'boot-1',
    source: anImage,
    config: aConfig(),
    ttlSeconds: 30,
    credentials: [],
    secretEnv: [],
    ...of,
  };
}
