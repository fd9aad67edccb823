/**
 * How a worker tells the parent what it delivered: frames on a socket, little-endian, in two kinds.
 *
 * Each shard has a slot, which holds the Kinesis record that its deliveries come from until it is set anew:
 *   kind u8 = 1, unused u8, text bytes u16, slot u32, text "shard id, space, sequence number"
 * A delivery:
 *   kind u8 = 2, unused u8, key bytes u16, record number u32, value f64, CRC-32 u32, data bytes u32,
 *   seconds u32, nanoseconds u32, slot u32, sub-sequence number u32, partition key
 */

/** The file descriptor of the socket in the worker. */
export const REPORT_FD = 3

const SLOT = 1
const DELIVERY = 2
const SLOT_BYTES = 8
const DELIVERY_BYTES = 40
// A partition key has up to 256 characters of up to 4 bytes; a shard id and a sequence number together have less.
const MAX_TEXT_BYTES = 1_024

/** One user record that a handler was called with. */
export interface Delivery {
  /** The record's number in the run. */
  readonly number: number
  readonly key: string
  readonly value: number
  readonly crc: number
  readonly bytes: number
  /** When, in nanoseconds of the machine's monotonic clock, which is one for all its processes. */
  readonly at: number
  readonly shardId: string
  readonly sequenceNumber: string
  readonly subSequenceNumber: number
}

/** Encodes deliveries in a worker: one `write` for each, made before `delivered` returns. */
export class ReportEncoder {
  readonly #write: (frames: Buffer) => void
  readonly #buffer = Buffer.alloc(SLOT_BYTES + DELIVERY_BYTES + 2 * MAX_TEXT_BYTES)
  readonly #slots = new Map<string, { readonly index: number; sequenceNumber: string }>()

  constructor(write: (frames: Buffer) => void) {
    this.#write = write
  }

  /** @param time as from `process.hrtime()` */
  delivered(delivery: Omit<Delivery, 'at'>, time: readonly [seconds: number, nanoseconds: number]): void {
    const buffer = this.#buffer
    let start = 0
    let slot = this.#slots.get(delivery.shardId)
    if (slot === undefined) {
      slot = { index: this.#slots.size, sequenceNumber: '' }
      this.#slots.set(delivery.shardId, slot)
    }
    if (slot.sequenceNumber !== delivery.sequenceNumber) {
      slot.sequenceNumber = delivery.sequenceNumber
      const textBytes = buffer.write(`${delivery.shardId} ${delivery.sequenceNumber}`, SLOT_BYTES)
      buffer.writeUInt8(SLOT, 0)
      buffer.writeUInt16LE(textBytes, 2)
      buffer.writeUInt32LE(slot.index, 4)
      start = SLOT_BYTES + textBytes
    }
    const keyBytes = buffer.write(delivery.key, start + DELIVERY_BYTES)
    buffer.writeUInt8(DELIVERY, start)
    buffer.writeUInt16LE(keyBytes, start + 2)
    buffer.writeUInt32LE(delivery.number, start + 4)
    buffer.writeDoubleLE(delivery.value, start + 8)
    buffer.writeUInt32LE(delivery.crc, start + 16)
    buffer.writeUInt32LE(delivery.bytes, start + 20)
    buffer.writeUInt32LE(time[0], start + 24)
    buffer.writeUInt32LE(time[1], start + 28)
    buffer.writeUInt32LE(slot.index, start + 32)
    buffer.writeUInt32LE(delivery.subSequenceNumber, start + 36)
    this.#write(buffer.subarray(0, start + DELIVERY_BYTES + keyBytes))
  }
}

/** Decodes one worker's frames in the parent. A frame cut off by the worker's death never happened. */
export class ReportDecoder {
  readonly #onDelivery: (delivery: Delivery) => void
  readonly #slots: { readonly shardId: string; readonly sequenceNumber: string }[] = []
  #rest: Buffer = Buffer.alloc(0)

  constructor(onDelivery: (delivery: Delivery) => void) {
    this.#onDelivery = onDelivery
  }

  push(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let start = 0
    while (bytes.length - start >= SLOT_BYTES) {
      const isSlot = bytes.readUInt8(start) === SLOT
      const textStart = start + (isSlot ? SLOT_BYTES : DELIVERY_BYTES)
      const end = textStart + bytes.readUInt16LE(start + 2)
      if (end > bytes.length) break
      const text = bytes.toString('utf8', textStart, end)
      if (isSlot) {
        const [shardId = '', sequenceNumber = ''] = text.split(' ')
        this.#slots[bytes.readUInt32LE(start + 4)] = { shardId, sequenceNumber }
      } else {
        this.#onDelivery(this.#delivery(bytes, start, text))
      }
      start = end
    }
    this.#rest = bytes.subarray(start)
  }

  #delivery(bytes: Buffer, start: number, key: string): Delivery {
    const slot = this.#slots[bytes.readUInt32LE(start + 32)]
    if (slot === undefined) throw new Error('report channel: expected the slot to be set before its first delivery')
    return {
      number: bytes.readUInt32LE(start + 4),
      key,
      value: bytes.readDoubleLE(start + 8),
      crc: bytes.readUInt32LE(start + 16),
      bytes: bytes.readUInt32LE(start + 20),
      at: nanoseconds([bytes.readUInt32LE(start + 24), bytes.readUInt32LE(start + 28)]),
      shardId: slot.shardId,
      sequenceNumber: slot.sequenceNumber,
      subSequenceNumber: bytes.readUInt32LE(start + 36),
    }
  }
}

/**
 * One number for a time of `process.hrtime()`: nanoseconds since the parent's start, so that a double holds them
 * exactly however long the machine has been up.
 */
export function nanoseconds([seconds, nanos]: readonly [number, number]): number {
  return (seconds - ORIGIN_SECONDS) * 1e9 + nanos
}

const [ORIGIN_SECONDS] = process.hrtime()
