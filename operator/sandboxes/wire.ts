import type { Sandbox } from '../../crds/index.ts';
import { BackupPriority, SourceKind, Wanted } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { CopyConfig, EnvironmentVariable, Order, Preparation, Source } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { RegistryCredential } from '../../process/registry-credential.ts';
import type { CopyPreparation } from '../lifecycle/decision.ts';
import type { CopyOrder } from '../lifecycle/orders.ts';

/** How long an agent keeps what it prepared and no order has named, in seconds: longer than a patch takes. */
const preparationSeconds = 60;

/** What goes along with a message and is part of no order's content. */
export interface SecretPayload {
  readonly credentials: readonly RegistryCredential[];
  readonly secretEnv: readonly EnvironmentVariable[];
}

/** An order of an acknowledged object on the wire; undefined when the spec that it was decided for is gone, so that it has to be raised first. */
export function wireOrder(
  { metadata, spec, status }: Pick<Sandbox, 'metadata' | 'spec' | 'status'>,
  order: CopyOrder,
  config: CopyConfig,
  payload: SecretPayload,
): Order | undefined {
  const makes = order.source !== undefined;
  if (makes && order.configHash !== config.hash) return undefined;
  return {
    uid: metadata.uid,
    namespace: metadata.namespace,
    name: metadata.name,
    epoch: order.epoch,
    order: order.order,
    storeId: order.storeID,
    bootId: order.bootID,
    wanted: wantedOnWire[order.wanted],
    contentVersion: order.contentVersion,
    source: order.source && wireSource(order.source),
    config: makes ? config : undefined,
    graceSeconds: spec.terminationGracePeriodSeconds,
    credentials: makes || order.backup !== undefined ? [...payload.credentials] : [],
    secretEnv: makes ? [...payload.secretEnv] : [],
    backup: order.backup && { ...order.backup, priority: priorityOf(order, status) },
  };
}

export function wirePreparation(
  { metadata }: Pick<Sandbox, 'metadata'>,
  preparation: CopyPreparation,
  config: CopyConfig,
  payload: SecretPayload,
): Preparation {
  return {
    uid: metadata.uid,
    namespace: metadata.namespace,
    name: metadata.name,
    epoch: preparation.epoch,
    storeId: preparation.storeID,
    bootId: preparation.bootID,
    source: wireSource(preparation.source),
    config,
    ttlSeconds: preparationSeconds,
    credentials: [...payload.credentials],
    secretEnv: [...payload.secretEnv],
  };
}

function priorityOf({ wanted }: CopyOrder, { backup }: Sandbox['status']): BackupPriority {
  if (backup?.operation?.kind === 'Archive') return BackupPriority.BACKUP_PRIORITY_ARCHIVING;
  return wanted === 'Running' ? BackupPriority.BACKUP_PRIORITY_STARTED : BackupPriority.BACKUP_PRIORITY_STOPPED;
}

const wantedOnWire = {
  Prepared: Wanted.WANTED_PREPARED,
  Running: Wanted.WANTED_RUNNING,
  Stopped: Wanted.WANTED_STOPPED,
  Absent: Wanted.WANTED_ABSENT,
} as const;

const sourceOnWire = {
  Image: SourceKind.SOURCE_KIND_IMAGE,
  Local: SourceKind.SOURCE_KIND_LOCAL,
  Backup: SourceKind.SOURCE_KIND_BACKUP,
} as const;

function wireSource({ kind, digest, repository }: NonNullable<CopyOrder['source']>): Source {
  return { kind: sourceOnWire[kind], digest: digest ?? '', ...(repository !== undefined && { repository }) };
}
