import type { Any } from './gen/google/protobuf/any.ts';
import type { RuntimeSpec, SpecProcess } from '../security/oci.ts';

/** What ts-proto generates for a message. */
interface Message<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(input: Uint8Array): T;
}

/** Packs a message the way containerd expects it: the bare message name, without a host in front. */
export function packAny<T>(name: string, type: Message<T>, message: T): Any {
  return { typeUrl: name, value: Buffer.from(type.encode(message).finish()) };
}

/** The message, or undefined when it is of another type. */
export function unpackAny<T>(name: string, type: Message<T>, any: Any | undefined): T | undefined {
  return any !== undefined && bareName(any) === name ? type.decode(any.value) : undefined;
}

function bareName(any: Any): string {
  return any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1);
}

/** The OCI spec travels as JSON. */
export function packSpec(spec: RuntimeSpec): Any {
  return { typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Spec', value: Buffer.from(JSON.stringify(spec)) };
}

/** So does that of a process in a container. */
export function packProcess(process: SpecProcess): Any {
  return { typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Process', value: Buffer.from(JSON.stringify(process)) };
}
