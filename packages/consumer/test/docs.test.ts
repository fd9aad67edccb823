import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { type ResolvedOptions, resolveOptions } from '../src/options.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const PAGES = [
  'packages/consumer/README.md',
  ...[
    'assignment',
    'consumer',
    'cost',
    'fan-out',
    'handoff',
    'leader',
    'leases',
    'moving-from-the-kcl',
    'promises',
  ].map(inDocs),
  ...['failures-of-handlers', 'processing', 'replay', 'shard-life', 'stopped-shards', 'testing'].map(inDocs),
  ...['README', 'reading-without-leases', 'running-a-fleet', 'words'].map(inDocs),
]

function inDocs(name: string): string {
  return `docs/${name}.md`
}

function page(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

function source(name: string): string {
  return page(`packages/consumer/src/${name}`)
}

function named(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(([, name]) => name ?? '')
}

/** Everything that a page may name. */
const SOURCES = ['consumer', 'producer', 'core']
  .flatMap((name) => {
    const folder = `packages/${name}/src`
    const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    return files.filter((file) => file.endsWith('.ts')).map((file) => page(join(folder, file)))
  })
  .join('\n')

/** What belongs to those who run the processes. */
const OTHERS_NAMES = [
  ...['stopTimeout', 'minimumHealthyPercent', 'maximumPercent'],
  ...['terminationGracePeriodSeconds', 'maxSurge', 'maxUnavailable'],
]

/** The cells of the first table under a heading. */
function table(text: string, heading: string): string[][] {
  const section = text.split(`\n${heading}\n`)[1]?.split('\n## ')[0] ?? ''
  const lines = section.split('\n')
  const first = lines.findIndex((line) => line.startsWith('|---'))
  const rows = lines.slice(first + 1)
  return rows
    .slice(
      0,
      rows.findIndex((line) => !line.startsWith('|')),
    )
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
}

const optionNames = named(source('options.ts').split('\n}\n')[0]!, /^ {2}readonly (\w+)\??:/gm)

describe('the table of options', () => {
  const rows = table(page('packages/consumer/README.md'), '## Options').flatMap(([names = '', value = '']) =>
    named(names, /`(\w+)`/g).map((name) => [name, value] as const),
  )

  test('has every option, and no other', () => {
    expect(optionNames.length).toBeGreaterThan(25)
    expect(rows.map(([name]) => name).toSorted()).toEqual(optionNames.toSorted())
  })

  test('has the defaults of the code', () => {
    const defaults: Partial<ResolvedOptions> = resolveOptions({ application: 'delays', stream: 'flights' })
    const told = rows.flatMap(([name, value]) => {
      const literal = /^(\d+|true|false)$|^`(.+)`$/.exec(value)
      const text = literal?.[1] ?? literal?.[2]?.replaceAll("'", '')
      return text === undefined || ['application', 'assignByCount'].includes(text) ? [] : [[name, text] as const]
    })
    expect(told.length).toBeGreaterThan(12)
    for (const [name, text] of told)
      expect(`${name} ${defaults[name as keyof ResolvedOptions]}`).toBe(`${name} ${text}`)
    expect(defaults).toMatchObject({ checkpointIntervalMs: 10_000 / 3, renewalInterval: 4_500, tableName: 'delays' })
    expect(defaults).toMatchObject({ maxLeases: Number.POSITIVE_INFINITY, tableTags: {} })
  })
})

/** Every setting of the KCL 3.5's seven configuration objects, and of its multi-language daemon. */
const KCL_PROPERTIES =
  'applicationName tableName streamName streamArn streamTracker workerIdentifier workerId kinesisClient dynamoDBClient ' +
  'cloudWatchClient namespace regionName kinesisEndpoint dynamoDBEndpoint AWSCredentialsProvider initialPositionInStream ' +
  'initialPositionInStreamExtended failoverTimeMillis maxLeasesForWorker leaseAssignmentStrategy leaseAssignmentIntervalMillis ' +
  'maxLeasesToStealAtOneTime enablePriorityLeaseAssignment isGracefulLeaseHandoffEnabled gracefulLeaseHandoffTimeoutMillis ' +
  'dynamoDbLockBasedLeaderLeaseDurationInMillis dynamoDbLockBasedLeaderHeartbeatPeriodInMillis workerMetricsReporterFreqInMillis ' +
  'staleWorkerMetricsEntryCleanupDuration inMemoryWorkerMetricsCaptureFrequencyMillis noOfPersistedMetricsPerWorkerMetrics ' +
  'disableWorkerMetrics workerMetricList maxThroughputPerHostKBps dampeningPercentage reBalanceThresholdPercentage ' +
  'allowThroughputOvershoot varianceBalancingFrequency workerMetricsEMAAlpha workerMetricsTableConfig coordinatorStateTableConfig ' +
  'clientVersionConfig migrateAllEntitiesToLeaseTable tableMigrationCompleteBakeTimeSeconds billingMode ' +
  'initialLeaseTableReadCapacity initialLeaseTableWriteCapacity tags leaseTableDeletionProtectionEnabled leaseTablePitrEnabled ' +
  'tableCreatorCallback consistentReads leaseTableScanTotalSegments dynamoDbRequestTimeout maxLeaseRenewalThreads epsilonMillis ' +
  'shardSyncIntervalMillis leasesRecoveryAuditorExecutionFrequencyMillis ' +
  'leasesRecoveryAuditorInconsistencyConfidenceThreshold cleanupLeasesUponShardCompletion leaseCleanupConfig ' +
  'ignoreUnexpectedChildShards skipShardSyncAtWorkerInitializationIfLeasesExist maxInitializationAttempts ' +
  'schedulerInitializationBackoffTimeMillis parentShardPollIntervalMillis shardConsumerDispatchPollIntervalMillis ' +
  'shardPrioritization listShardsBackoffTimeInMillis maxListShardsRetryAttempts maxCacheMissesBeforeReload ' +
  'listShardsCacheAllowedAgeInSeconds cacheMissWarningModulus streamInfoMode streamIdOnboardingState taskBackoffTimeMillis ' +
  'logWarningForTaskAfterMillis readTimeoutsToIgnoreBeforeWarning aggregatorUtil callProcessRecordsEvenForEmptyRecordList ' +
  'metricsBufferTimeMillis metricsMaxQueueSize metricsLevel metricsEnabledDimensions publisherFlushBuffer retrievalMode maxRecords ' +
  'idleTimeBetweenReadsInMillis maxPendingProcessRecordsInput kinesisRequestTimeout millisBehindLatestThresholdForReducedTps ' +
  'sleepTimeController retryGetRecordsInSeconds maxGetRecordsThreadPool consumerArn consumerName maxDescribeStreamSummaryRetries ' +
  'maxDescribeStreamConsumerRetries registerStreamConsumerRetries retryBackoffMillis executableName processingLanguage ' +
  'maxActiveThreads timeoutInSeconds shutdownGraceMillis validateSequenceNumberBeforeCheckpointing'

describe('moving from the KCL', () => {
  test('says what became of every setting of the KCL', () => {
    const rows = table(page('docs/moving-from-the-kcl.md'), '## Configuration')
    const mapped = rows.flatMap(([names = '']) => named(names, /`(\w+)`/g))
    expect(mapped.toSorted()).toEqual(KCL_PROPERTIES.split(' ').toSorted())
  })

  test('has every option of the consumer', () => {
    const missing = optionNames.filter((name) => !page('docs/moving-from-the-kcl.md').includes(`\`${name}\``))
    // What is handed in for tests.
    expect(missing).toEqual(['clock', 'random'])
  })
})

describe('cost', () => {
  const { failoverTime, renewalInterval, checkpointIntervalMs } = resolveOptions({
    application: 'delays',
    stream: 'flights',
  })
  const [leases, workers] = [32, 4]
  const perSecond = (ms: number): number => 1_000 / ms
  const row = (cells: string[]): string[] => cells.map((cell) => cell.replaceAll('*', ''))
  const rows = new Map(
    table(page('docs/cost.md'), `## ${leases} leases on ${workers} workers`).map((cells) => {
      const [name = '', ...values] = row(cells)
      return [name, values.map(Number)] as const
    }),
  )
  const isTold = (name: string, ...values: number[]): boolean =>
    values.every((value, index) => Math.abs(value - (rows.get(name)?.[index] ?? Number.NaN)) < 0.051)

  test('the worked example is what the options give', () => {
    const idle = leases * perSecond(renewalInterval)
    const busy = leases * perSecond(checkpointIntervalMs)
    const beats = (workers + 1) * perSecond(failoverTime / 2)
    const looks = [
      ...named(SOURCES, /^const (?:MAX_INDEX|MAX_LOCK)_INTERVAL_MS = ([\d_]+)$/gm),
      ...named(source('leases/reported-load.ts'), /^const LOOK_INTERVAL_MS = ([\d_]+)$/gm),
    ]
    expect(looks).toHaveLength(3)
    const perFollower = looks.reduce((sum, ms) => sum + perSecond(Number(ms.replaceAll('_', ''))), 0)
    const reads = perSecond(1_000) + (workers - 1) * perFollower
    expect(isTold('UpdateItem of leases', idle, busy)).toBe(true)
    expect(isTold('UpdateItem of entries and lock', beats, beats)).toBe(true)
    expect(isTold('requests', idle + beats + reads, busy + beats + reads)).toBe(true)
  })
})

describe.each(PAGES)('%s', (path) => {
  const text = page(path)
  const isKcl = path === inDocs('moving-from-the-kcl')

  test('every link leads somewhere', () => {
    const links = [...text.matchAll(/\]\(([^)#]*)(?:#([\w-]+))?\)/g)].filter(([, file]) => !file?.startsWith('http'))
    const broken = links.filter(([, file = '', anchor]) => {
      const target = file === '' ? path : join(path, '..', file)
      if (!existsSync(join(root, target))) return true
      return anchor !== undefined && !anchorsOf(page(target)).includes(anchor)
    })
    expect(broken.map(([link]) => link)).toEqual([])
  })

  test('every name of the consumer that is mentioned exists', () => {
    const words = named(text.replaceAll(/```[\s\S]*?```/g, ''), /`(\w+)`/g)
    const isCode = (word: string): boolean => word.startsWith('ERR_') || /^[a-z]+(_[a-z]+)+$/.test(word)
    const isName = (word: string): boolean => isCode(word) || (!isKcl && /^[a-z]+([A-Z][a-z]+)+$/.test(word))
    const isKnown = (word: string): boolean => new RegExp(`\\b${word}\\b`).test(SOURCES) || OTHERS_NAMES.includes(word)
    expect(words.filter((word) => isName(word) && !isKnown(word))).toEqual([])
  })
})

function anchorsOf(text: string): string[] {
  return named(text, /^#+ (.+)$/gm).map((heading) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

/** What snippets use of packages that aren't installed here. */
const NOT_INSTALLED = `
declare module '@aws-sdk/client-sqs' {
  export class SQSClient {
    send(command: SendMessageCommand): Promise<{ MessageId?: string }>
  }
  export class SendMessageCommand {
    constructor(input: { QueueUrl: string | undefined; MessageBody: string | undefined })
  }
}
declare module '@aws-sdk/client-s3' {
  export class S3Client {
    send(command: PutObjectCommand): Promise<{ ETag?: string }>
  }
  export class PutObjectCommand {
    constructor(input: { Bucket: string; Key: string; Body: Uint8Array | string; Metadata?: Record<string, string> })
  }
}
`

/** Where packages are found by their names. */
async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'shardwise-docs-'))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  return folder
}

test('the example of a test holds', async () => {
  const folder = await makeFolder()
  try {
    const [example = ''] = named(page('docs/testing.md'), /```ts\n([\s\S]*?)```/g)
    await writeFile(join(folder, 'example.test.ts'), example)
    const ran = promisify(execFile)(process.execPath, ['--conditions=shardwise-source', 'example.test.ts'], {
      cwd: folder,
    })
    const { stdout } = await ran
    expect(stdout).toMatch(/pass 2\n.*fail 0/)
  } finally {
    await rm(folder, { recursive: true })
  }
}, 60_000)

test('every code block compiles', async () => {
  const folder = await makeFolder()
  try {
    const snippets = PAGES.flatMap((path) => named(page(path), /```ts\n([\s\S]*?)```/g).map((code) => ({ path, code })))
    expect(snippets.length).toBeGreaterThan(6)
    for (const [index, { path, code }] of snippets.entries()) {
      await writeFile(join(folder, `${index}-${path.replaceAll(/[/.]/g, '-')}.ts`), compilable(code))
    }
    await writeFile(join(folder, 'not-installed.d.ts'), NOT_INSTALLED)
    await writeFile(
      join(folder, 'tsconfig.json'),
      JSON.stringify({
        extends: join(root, 'tsconfig.base.json'),
        compilerOptions: {
          composite: false,
          noEmit: true,
          isolatedDeclarations: false,
          declaration: false,
          declarationMap: false,
          incremental: false,
          noUnusedLocals: false,
          typeRoots: [join(root, 'node_modules/@types')],
          paths: { '@shardwise/*': [join(root, 'packages/*/src/index.ts')] },
        },
        include: ['*.ts'],
      }),
    )
    const compiled = promisify(execFile)(join(root, 'node_modules/.bin/tsc'), ['-p', folder])
    await expect(
      compiled.then(
        () => '',
        ({ stdout }: { stdout: string }) => stdout,
      ),
    ).resolves.toBe('')
  } finally {
    await rm(folder, { recursive: true })
  }
}, 60_000)

/** With what a reader takes for given. */
function compilable(code: string): string {
  const importsIt = /import \{[^}]*\bConsumer\b[^}]*\} from '@shardwise\/consumer'/.test(code)
  return [
    ...(importsIt ? [] : ["import { Consumer } from '@shardwise/consumer'"]),
    ...(code.includes('const consumer ') ? [] : ['declare const consumer: Consumer']),
    'declare function save(key: string, data: unknown): Promise<void>',
    code,
    ...(importsIt ? [] : ['export { Consumer }']),
  ].join('\n')
}
