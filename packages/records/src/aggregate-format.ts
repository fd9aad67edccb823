/*
 * The KPL's aggregate: the magic, a protobuf message, the MD5 of the message.
 *
 *   message AggregatedRecord {
 *     repeated string partition_key_table = 1;
 *     repeated string explicit_hash_key_table = 2;
 *     repeated Record records = 3;
 *   }
 *   message Record {
 *     required uint64 partition_key_index = 1;
 *     optional uint64 explicit_hash_key_index = 2;
 *     required bytes data = 3;
 *     repeated Tag tags = 4;   // never written, by nobody
 *   }
 */

/** The four bytes that an aggregate starts with. */
export const AGGREGATE_MAGIC: Uint8Array = Uint8Array.of(0xf3, 0x89, 0x9a, 0xc2)

/** The length of the MD5 that an aggregate ends with. */
export const MD5_BYTES = 16

/** What the envelope adds to the protobuf message, in bytes: the magic and the MD5. */
export const AGGREGATE_OVERHEAD_BYTES = 20

/** The partition key of every aggregate: it means nothing, the explicit hash key decides. */
export const AGGREGATE_PARTITION_KEY = 'a'

/** Wire types of protobuf. */
export const VARINT = 0
export const FIXED_64 = 1
export const LENGTH_DELIMITED = 2
export const GROUP_START = 3
export const GROUP_END = 4
export const FIXED_32 = 5

/** Tags: field number and wire type. */
export const PARTITION_KEY_TABLE_TAG: number = (1 << 3) | LENGTH_DELIMITED
export const EXPLICIT_HASH_KEY_TABLE_TAG: number = (2 << 3) | LENGTH_DELIMITED
export const RECORDS_TAG: number = (3 << 3) | LENGTH_DELIMITED
export const PARTITION_KEY_INDEX_TAG: number = (1 << 3) | VARINT
export const EXPLICIT_HASH_KEY_INDEX_TAG: number = (2 << 3) | VARINT
export const DATA_TAG: number = (3 << 3) | LENGTH_DELIMITED

/** The length of a number below 2^32 as a varint, in bytes. */
export function varintSize(value: number): number {
  if (value < 0x80) return 1
  if (value < 0x4000) return 2
  if (value < 0x20_0000) return 3
  return value < 0x1000_0000 ? 4 : 5
}

/** Writes a number below 2^32 as a varint and returns where it ends. */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = value
  while (rest >= 0x80) {
    bytes[at++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  bytes[at++] = rest
  return at
}
