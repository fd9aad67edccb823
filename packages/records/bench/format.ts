/*
 * What the format costs: ours, protobufjs (minimal Writer and Reader, by hand), aws-kinesis-agg, in one run.
 *
 *   node --conditions=shardwise-source packages/records/bench/format.ts
 *
 * User records of 100 bytes, keys out of 10,000 or all different, aggregates of 400 user records (about 46 KB), MD5 included
 * everywhere.
 * CPU time of the process in µs per user record: the median of the rounds, and their range.
 */
import { hash } from 'node:crypto'
import { createRequire } from 'node:module'
import {
  AGGREGATE_MAGIC,
  AggregateBuilder,
  deaggregate,
  hashKeyOf,
  isMisplaced,
  ShardMap,
  splitEvenly,
} from '@shardwise/records'
import protobuf from 'protobufjs/minimal.js'

interface Peer {
  readonly RecordAggregator: new () => { addUserRecord(record: object): void; build(): { readonly data: Buffer } }
  deaggregateSync(
    record: object,
    checksums: boolean,
    done: (error: Error | null, records?: { data: string }[]) => void,
  ): void
}
const peer = createRequire(import.meta.url)('aws-kinesis-agg') as Peer

const PER_AGGREGATE = 400
const AGGREGATES = 250
const WARM_UP_ROUNDS = 5
const ROUNDS = 15

const payload = Buffer.alloc(100, 'x')
const inputs = Array.from({ length: PER_AGGREGATE * AGGREGATES }, (_, index) => ({
  partitionKey: `user-${(index * 7919) % 10_000}`,
  data: payload,
}))
const groups = grouped(inputs)

/** Texts that nobody has looked at: a key that comes again is cheaper, since its text knows its hash. */
let distinct = 0
let fresh = inputs
let freshGroups = groups
function refresh(): void {
  fresh = inputs.map(({ data }) => ({ partitionKey: `user-${distinct++}`, data }))
  freshGroups = grouped(fresh)
}

function grouped(records: typeof inputs): (typeof inputs)[] {
  return Array.from({ length: AGGREGATES }, (_, group) =>
    records.slice(group * PER_AGGREGATE, (group + 1) * PER_AGGREGATE),
  )
}
const MAGIC = Buffer.from(AGGREGATE_MAGIC)

function buildOurs(records: typeof inputs): Uint8Array {
  builder.reset()
  for (const { partitionKey, data } of records) {
    if (builder.sizeWith(partitionKey, undefined, data.length) > 51_200) throw new Error('the aggregate is too large')
    builder.add(partitionKey, undefined, data)
  }
  return builder.build(0n).data
}
const builder = new AggregateBuilder()

function buildProtobufjs(records: typeof inputs): Uint8Array {
  const keys = new Map<string, number>()
  for (const { partitionKey } of records) if (!keys.has(partitionKey)) keys.set(partitionKey, keys.size)
  const writer = protobuf.Writer.create()
  for (const key of keys.keys()) writer.uint32(10).string(key)
  for (const { partitionKey, data } of records) {
    writer
      .uint32(26)
      .fork()
      .uint32(8)
      .uint64(keys.get(partitionKey) ?? 0)
      .uint32(26)
      .bytes(data)
      .ldelim()
  }
  const message = writer.finish()
  return Buffer.concat([MAGIC, message, hash('md5', message, 'buffer')])
}

function buildPeer(records: typeof inputs): Uint8Array {
  const aggregator = new peer.RecordAggregator()
  for (const record of records) aggregator.addUserRecord(record)
  return aggregator.build().data
}

function readOurs(data: Uint8Array): number {
  const result = deaggregate(data)
  return result.kind === 'aggregate' ? result.records.length : 0
}

function readProtobufjs(data: Uint8Array): number {
  const message = data.subarray(4, -16)
  if (!hash('md5', message, 'buffer').equals(data.subarray(-16))) return 0
  const reader = protobuf.Reader.create(message)
  const keys: string[] = []
  const records: object[] = []
  while (reader.pos < reader.len) {
    const tag = reader.uint32()
    if (tag === 10) keys.push(reader.string())
    else if (tag === 26) {
      const end = reader.uint32() + reader.pos
      let index = 0
      let bytes: Uint8Array | undefined
      while (reader.pos < end) {
        const inner = reader.uint32()
        if (inner === 8) index = Number(reader.uint64())
        else if (inner === 26) bytes = reader.bytes()
        else reader.skipType(inner & 7)
      }
      records.push({ partitionKey: keys[index], data: bytes, subSequenceNumber: records.length })
    } else reader.skipType(tag & 7)
  }
  return records.length
}

function readPeer(base64: string): number {
  let count = 0
  peer.deaggregateSync({ data: base64 }, true, (_, records) => {
    count = records?.length ?? count
  })
  return count
}

const aggregates = groups.map((group) => Uint8Array.from(buildOurs(group)))
const base64s = aggregates.map((data) => Buffer.from(data).toString('base64'))
const map = ShardMap.of(splitEvenly(64).map((hashRange, index) => ({ shardId: `shardId-${index}`, hashRange })))

const each =
  <T>(items: () => readonly T[], run: (item: T) => unknown) =>
  () => {
    for (const item of items()) run(item)
  }
const tasks: readonly (readonly [name: string, run: () => void])[] = [
  ['build   shardwise', each(() => groups, buildOurs)],
  ['build   shardwise, distinct keys', each(() => freshGroups, buildOurs)],
  ['build   protobufjs', each(() => groups, buildProtobufjs)],
  ['build   protobufjs, distinct keys', each(() => freshGroups, buildProtobufjs)],
  ['build   aws-kinesis-agg', each(() => groups, buildPeer)],
  ['read    shardwise', each(() => aggregates, readOurs)],
  ['read    protobufjs', each(() => aggregates, readProtobufjs)],
  ['read    aws-kinesis-agg', each(() => base64s, readPeer)],
  [
    '        MD5 alone, of the aggregates',
    each(
      () => aggregates,
      (data) => hash('md5', data, 'hex'),
    ),
  ],
  [
    '        hashKeyOf',
    each(
      () => fresh,
      ({ partitionKey }) => hashKeyOf(partitionKey),
    ),
  ],
  [
    '        predict(hashKeyOf), 64 shards',
    each(
      () => fresh,
      ({ partitionKey }) => map.predict(hashKeyOf(partitionKey)),
    ),
  ],
  [
    '        predictKey, 64 shards',
    each(
      () => fresh,
      ({ partitionKey }) => map.predictKey(partitionKey),
    ),
  ],
  [
    '        isMisplaced',
    each(
      () => inputs,
      (record) => isMisplaced(record, { start: 0n, end: 1n }),
    ),
  ],
]

const figures = new Map(tasks.map(([name]) => [name, [] as number[]]))
for (let round = 0; round < WARM_UP_ROUNDS + ROUNDS; round++) {
  refresh()
  for (const [name, run] of tasks) {
    const before = process.cpuUsage()
    run()
    const { user, system } = process.cpuUsage(before)
    if (round >= WARM_UP_ROUNDS) figures.get(name)?.push((user + system) / inputs.length)
  }
}
process.stdout.write(
  `Node ${process.version}, CPU µs per user record of ${payload.length} bytes: median (min - max) of ${ROUNDS}\n`,
)
for (const [name, values] of figures) {
  values.sort((a, b) => a - b)
  const [median, min, max] = [values[values.length >> 1], values[0], values.at(-1)].map((value) =>
    (value ?? 0).toFixed(3),
  )
  process.stdout.write(`${name.padEnd(40)} ${median} (${min} - ${max})\n`)
}
