import { runnerSpecSchema, type Runner, type RunnerReason } from '../../crds/index.ts';
import { addressToID } from '../connections/address-id.ts';
import type { ConnectionState as Connection } from '../connections/controller.ts';
import type { ConnectionState } from './status.ts';

/** What holds until the Runner object was read. */
export const defaultRunnerSpec: Runner['spec'] = runnerSpecSchema.parse({});

const reasons: Readonly<Record<Connection['status'], RunnerReason>> = {
  Connecting: 'Unknown',
  Connected: 'Connected',
  Lost: 'ConnectionLost',
  Refused: 'ConnectionRefused',
};

/** A connection as its condition tells it: the message carries the instance id under which the operator pod knows this agent. */
export function publishedState({ address, instanceID, status, message }: Connection): ConnectionState {
  return { id: addressToID(address), isConnected: status === 'Connected', reason: reasons[status], message: `${instanceID}: ${message}` };
}
