import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { AggregateBuilder } from './aggregate-builder.ts'
import { deaggregate } from './deaggregate.ts'
import { hashKeyOf, parseHashKey } from './hash-key.ts'

/** A Kinesis record as the KPL 1.1.1 wrote it, and the user records that were put. */
interface Vector {
  readonly SequenceNumber: string
  readonly PartitionKey: string
  readonly wireExplicitHashKey: string
  readonly aggregated: boolean
  readonly Data: string
  readonly userRecords: readonly { partitionKey: string; explicitHashKey: string | null; dataBase64: string }[]
}

const read = (name: string) => readFileSync(new URL(`../test-vectors/${name}`, import.meta.url), 'utf8')
const vectors: readonly Vector[] = [
  ...(JSON.parse(read('kpl-vectors.json')) as { vectors: Vector[] }).vectors,
  ...read('kpl-vectors-big.jsonl')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Vector),
]

/** Lone records don't carry the explicit hash key that their user gave; these two had one. */
const GIVEN_TO_LONE = new Map([
  ['solo-ehk', '12345'],
  ['big30k', '5'],
])

const named = vectors.map(
  (vector) => [`${vector.userRecords.length} from ${vector.userRecords[0]?.partitionKey}`, vector] as const,
)

test('there are vectors of both kinds', () => {
  expect(vectors.filter(({ aggregated }) => aggregated)).toHaveLength(18)
  expect(vectors.filter(({ aggregated }) => !aggregated)).toHaveLength(5)
})

describe.each(named)(
  'what the KPL wrote: %s',
  (_, { PartitionKey, wireExplicitHashKey, aggregated, Data, userRecords }) => {
    const bytes = Buffer.from(Data, 'base64')

    test('reads as exactly its user records', () => {
      const result = deaggregate(bytes)
      if (!aggregated) {
        expect(result).toEqual({ kind: 'raw' })
        expect(Data).toBe(userRecords[0]?.dataBase64)
        return
      }
      expect(
        result.kind === 'aggregate'
          ? result.records.map(({ data, ...keys }) => ({ ...keys, data: text(data) }))
          : result,
      ).toEqual(
        userRecords.map(({ partitionKey, explicitHashKey, dataBase64 }, subSequenceNumber) => ({
          partitionKey,
          explicitHashKey: explicitHashKey ?? undefined,
          data: dataBase64,
          subSequenceNumber,
        })),
      )
    })

    test('is built of its user records to the byte, with its partition key and explicit hash key', () => {
      const builder = new AggregateBuilder()
      for (const { partitionKey, explicitHashKey, dataBase64 } of userRecords) {
        const data = Buffer.from(dataBase64, 'base64')
        const size = builder.sizeWith(partitionKey, explicitHashKey ?? undefined, data.length)
        builder.add(partitionKey, explicitHashKey ?? undefined, data)
        expect(builder.size).toBe(size)
      }
      const [first] = userRecords
      const given = first?.explicitHashKey ?? (aggregated ? undefined : GIVEN_TO_LONE.get(PartitionKey))
      const built = builder.build(given === undefined ? hashKeyOf(first?.partitionKey ?? '') : parseHashKey(given))
      expect(text(built.data)).toBe(Data)
      expect(builder.size).toBe(bytes.length)
      expect(built.partitionKey).toBe(PartitionKey)
      expect(built.explicitHashKey).toBe(wireExplicitHashKey)
    })
  },
)

function text(data: Uint8Array): string {
  return Buffer.from(data).toString('base64')
}
