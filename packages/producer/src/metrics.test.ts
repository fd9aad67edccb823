import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ERROR_TYPE, METRICS, type Metric, SHARD_ID } from './metrics.ts'

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8')
const docs = read('../../../docs/telemetry.md')
const metrics: readonly Metric[] = Object.values(METRICS)

/** The metrics of the KPL 1.1. */
const KPL = [
  'UserRecordsReceived',
  'UserRecordsPending',
  'UserRecordsPut',
  'UserRecordsDataPut',
  'KinesisRecordsPut',
  'KinesisRecordsDataPut',
  'ErrorsByCode',
  'AllErrors',
  'RetriesPerRecord',
  'UserRecordExpired',
  'BufferingTime',
  'RequestTime',
  'UserRecordsPerKinesisRecord',
  'KinesisRecordsPerPutRecordsRequest',
  'UserRecordsPerPutRecordsRequest',
  'UnhealthyDaemon',
]

const row = ({ name, kind, unit, kpl, attributes, description }: Metric): string => {
  const short = attributes.map((key) =>
    key === SHARD_ID ? 'shard' : key === ERROR_TYPE ? 'error' : key.endsWith('copy') ? 'copy' : 'stream',
  )
  return `| \`${name}\` | ${kind}, \`${unit}\` | ${kpl === undefined ? '' : `\`${kpl}\``} | ${short.join(', ')} | ${description} |`
}

describe('the page on telemetry', () => {
  test('has every metric, as it is made', () => {
    expect(docs.split('\n').filter((line) => line.startsWith('| `shardwise.producer.'))).toEqual(metrics.map(row))
  })

  test.each(KPL)("says what became of the KPL's %s", (name) => {
    expect(docs).toContain(`\`${name}\``)
  })

  test('has every event', () => {
    const types = [...read('./telemetry.ts').matchAll(/readonly type: '(\w+)'/g)].map(([, type]) => type)
    const [ours = ''] = docs.split('\n## The consumer\n')
    const listed = [...ours.matchAll(/^\| `(\w+)` \|/gm)].map(([, type]) => type)
    expect(types.length).toBeGreaterThan(5)
    expect(listed.toSorted()).toEqual(types.toSorted())
  })
})

test("a metric is called by the KPL's name in snake case, where that has one", () => {
  for (const { name, kpl } of metrics) {
    if (kpl === undefined) continue
    expect(name).toBe(`shardwise.producer.${kpl.replace(/(?<!^)[A-Z]/g, '_$&').toLowerCase()}`)
  }
})

test('the buckets of every histogram go up, and only histograms have them', () => {
  for (const { kind, advice } of metrics) {
    expect(advice !== undefined).toBe(kind === 'histogram')
    const boundaries = advice?.explicitBucketBoundaries ?? []
    expect(boundaries).toEqual(boundaries.toSorted((a, b) => a - b))
    expect(new Set(boundaries).size).toBe(boundaries.length)
  }
})
