/**
 * The smallest program that can be run in a container: an ELF executable that ends with status 0. It needs no image, no library and nothing
 * of the host, so that the probe works on every node.
 */
export function probeProgram(architecture: string): Buffer | undefined {
  switch (architecture) {
    case 'x64':
      // xor edi, edi; mov eax, 60 (exit); syscall
      return elf(0x3e, [0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
    case 'arm64':
      // mov x0, #0; mov x8, #93 (exit); svc #0
      return elf(0xb7, [0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4]);
    default:
      return undefined;
  }
}

/** The id of a probe's container and task. */
export function probeID(uuid: string): string {
  return `probe-${uuid}`;
}

export function isProbeID(id: string): boolean {
  return id.startsWith(probeID(''));
}

const address = 0x400000n;
const [headerSize, programHeaderSize] = [64, 56];

/** A 64-bit little-endian executable with one segment: the file itself. */
function elf(machine: number, code: readonly number[]): Buffer {
  const entry = address + BigInt(headerSize + programHeaderSize);
  const size = BigInt(headerSize + programHeaderSize + code.length);
  return Buffer.concat([
    Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    // type: executable; machine; version; entry; program headers; section headers; flags
    u16(2, machine),
    u32(1),
    u64(entry, BigInt(headerSize), 0n),
    u32(0),
    // sizes of the headers and their counts
    u16(headerSize, programHeaderSize, 1, 0, 0, 0),
    // the segment: loadable, readable and executable; offset, addresses, sizes, alignment
    u32(1, 5),
    u64(0n, address, address, size, size, 0x1000n),
    Buffer.from(code),
  ]);
}

function u16(...values: readonly number[]): Buffer {
  return Buffer.from(values.flatMap((value) => [value & 0xff, (value >> 8) & 0xff]));
}

function u32(...values: readonly number[]): Buffer {
  return Buffer.concat(values.map((value) => u16(value & 0xffff, value >>> 16)));
}

function u64(...values: readonly bigint[]): Buffer {
  return Buffer.concat(values.map((value) => u32(Number(value & 0xffffffffn), Number(value >> 32n))));
}
