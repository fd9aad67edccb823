import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  APPLICATION,
  ERROR_TYPE,
  METRICS,
  type Metric,
  REASON,
  SHARD_ID,
  STREAM_NAME,
  WORKER,
} from '../src/telemetry/metrics.ts'

const page = readFileSync(new URL('../../../docs/telemetry.md', import.meta.url), 'utf8')
const source = readFileSync(new URL('../src/telemetry/telemetry.ts', import.meta.url), 'utf8')

/** What stands under a heading, up to the next of any rank. */
function section(heading: string): string {
  const found = page.split(`\n### ${heading}\n`)[1]
  if (found === undefined) throw new Error(`expected docs/telemetry.md to have the heading "${heading}"`)
  return found.split(/\n##+ /)[0] ?? ''
}

const named = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map(([, name]) => name ?? '')

const SHORT: Record<string, string> = {
  [APPLICATION]: 'application',
  [WORKER]: 'worker',
  [STREAM_NAME]: 'stream',
  [SHARD_ID]: 'shard',
  [REASON]: 'reason',
  [ERROR_TYPE]: 'error',
}

function row({ name, kind, unit, kcl, attributes, description }: Metric): string {
  const names = kcl.map((each) => `\`${each}\``).join(', ')
  const short = attributes.filter((each) => each !== APPLICATION).map((each) => SHORT[each])
  return `| \`${name}\` | ${kind}, \`${unit}\` | ${names} | ${short.join(', ')} | ${description} |`
}

/** Every metric that the KCL 3.5's documentation lists or its code emits. */
const KCL_METRICS =
  'LeaseAndWorkerMetricsLoad.Time TotalLeases NumWorkers AssignExpiredOrUnassignedLeases.Time LeaseSpillover ' +
  'BalanceWorkerVariance.Time NumOfLeasesReassignment FailedAssignmentCount ParallelyAssignLeases.Time ' +
  'ParallelyAssignLeases.Success TotalStaleWorkerMetricsEntry StaleWorkerMetricsCleanup.Time LeaseAssignmentManager.Time ' +
  'LeaseAssignmentManager.Success ForceLeaderRelease NumWorkersWithInvalidEntry NumWorkersWithFailingWorkerMetric ' +
  'LeaseDeserializationFailureCount ExpiredLeases IsLeader RecordProcessor.initialize.Time RecordProcessor.shutdown.Time ' +
  'KinesisDataFetcher.getShardIterator.Time KinesisDataFetcher.getShardIterator.Success CreateLease.Success ' +
  'CreateLease.Time UpdateLease.Success UpdateLease.Time SyncShards.Success SyncShards.Time BlockOnParentTask.Success ' +
  'BlockOnParentTask.Time NumStreamsToSync NumStreamsWithPartialLeases NumSkippedShardSyncTask MissingMergeParent ' +
  'DeletedStreams.Count ActiveStreams.Count StreamsPendingDeletion.Count NonExistingStreamDelete.Count ' +
  'InMemoryMetricStatsReporterFailure WorkerMetricStatsReporter.Time WorkerMetricStatsReporter.Success ' +
  'ListLeaseKeysForWorker.Time FetchNewLeases.Time NewLeasesDiscovered OwnerMismatch RenewLease.Success RenewLease.Time ' +
  'CurrentLeases LostLeases ListLeases.Success ListLeases.Time TakeLease.Success TakeLease.Time NeededLeases LeasesToTake ' +
  'TakenLeases UntakenLeases VeryOldLeases KinesisDataFetcher.getRecords.Success KinesisDataFetcher.getRecords.Time ' +
  'DataBytesProcessed RecordsProcessed ExpiredIterator MillisBehindLatest RecordProcessor.processRecords.Time'

describe('the metrics', () => {
  test('stand in the docs as they are made', () => {
    const rows = section("The consumer's metrics")
      .split('\n')
      .filter((line) => line.startsWith('| `shardwise.'))
    expect(rows).toEqual(Object.values(METRICS).map(row))
  })

  test('have names, units and attributes of one kind', () => {
    const all: Metric[] = Object.values(METRICS)
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length)
    for (const { name, kind, unit, attributes, advice } of all) {
      expect(name).toMatch(/^shardwise\.consumer\.[a-z_]+$/)
      expect(unit).toMatch(/^(s|By|1|\{[a-z]+\})$/)
      expect(attributes[0]).toBe(APPLICATION)
      expect(/\.time_|_time$/.test(name), `${name} in seconds`).toBe(unit === 's')
      expect(advice !== undefined, `${name} with buckets`).toBe(kind === 'histogram')
    }
  })

  test('stand for every metric of the KCL, or the docs say what there is instead', () => {
    const mapped = Object.values<Metric>(METRICS).flatMap(({ kcl }) => kcl)
    const others = section('Moving from the metrics of the KCL')
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .flatMap((line) => named(line.split('|')[1] ?? '', /`([\w.]+)`/g))
    expect(mapped.filter((name) => others.includes(name))).toEqual([])
    expect([...mapped, ...others].toSorted()).toEqual(KCL_METRICS.split(' ').toSorted())
  })
})

test('every event is in the docs, with its fields', () => {
  const declared = source.split('/** Tells what happens')[0] ?? ''
  const events = [...declared.matchAll(/readonly type: '(\w+)'([^}]*)\}/g)].map(([, type, rest = '']) =>
    [type, ...named(rest, /readonly (\w+):/g)].join(' '),
  )
  expect(events.length).toBeGreaterThan(20)
  const rows = [...section("The consumer's events").matchAll(/^\| `(\w+)` \|.*\| ([^|]*) \|$/gm)]
  const documented = rows.map(([, type, fields = '']) => [type, ...named(fields, /`(\w+)`/g)].join(' '))
  expect(documented.toSorted()).toEqual(events.toSorted())
})
