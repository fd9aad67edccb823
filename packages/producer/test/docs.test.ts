import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

const docs = new URL('../../../docs/', import.meta.url)
const page = (name: string): string => readFileSync(new URL(name, docs), 'utf8')
const source = (name: string): string => readFileSync(new URL(`../src/${name}`, import.meta.url), 'utf8')
const named = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map(([, name]) => name ?? '')

/** Every property of the KPL 1.1's configuration. */
const KPL_PROPERTIES =
  'aggregationEnabled aggregationMaxCount aggregationMaxSize collectionMaxCount collectionMaxSize maxUserRecordSize ' +
  'recordMaxBufferedTime recordTtl rateLimit failIfThrottled maxConnections minConnections connectTimeout requestTimeout ' +
  'threadingModel threadPoolSize region kinesisEndpoint kinesisPort cloudwatchEndpoint cloudwatchPort stsEndpoint stsPort ' +
  'verifyCertificate proxyHost proxyPort proxyUserName proxyPassword caCertPath caCertFile credentialsProvider ' +
  'metricsCredentialsProvider credentialsRefreshDelay metricsLevel metricsGranularity metricsNamespace metricsUploadDelay ' +
  'addAdditionalMetricsDimension logLevel enableCoreDumps nativeExecutable tempDirectory userRecordTimeoutInMillis ' +
  'enableOldestFutureTracker returnUserRecordOnFailure enableDaemonHealthCheck daemonHealthCheckTimeoutMs ' +
  'glueSchemaRegistryConfiguration glueSchemaRegistryPropertiesFilePath glueSchemaRegistryCredentialsProvider'

describe('moving from the KPL', () => {
  const table = page('moving-from-the-kpl.md').split('## Configuration')[1]?.split('\n## ')[0] ?? ''

  test('says what became of every property of the KPL', () => {
    const rows = table.split('\n').filter((line) => line.startsWith('| `'))
    const mapped = rows.flatMap((row) => named(row.split('|')[1] ?? '', /`(\w+)`/g))
    expect(mapped.toSorted()).toEqual(KPL_PROPERTIES.split(' ').toSorted())
  })

  test('has every option of the producer', () => {
    const options = named(source('options.ts'), /^ {2}readonly (\w+)\?:/gm)
    expect(options.length).toBeGreaterThan(15)
    const missing = options.filter((name) => !page('moving-from-the-kpl.md').includes(name))
    // What is handed in for tests.
    expect(missing).toEqual(['clock', 'random'])
  })
})

test('the page on failures has every code of an error', () => {
  const codes = named(source('errors.ts'), /\| '(ERR_\w+)'/g)
  expect(codes.length).toBeGreaterThan(8)
  expect(named(page('failures.md'), /^\| `(ERR_\w+)` \|/gm).toSorted()).toEqual(codes.toSorted())
})

test.each(readdirSync(docs).filter((name) => name.endsWith('.md')))('every link of docs/%s leads somewhere', (name) => {
  const links = named(page(name), /\]\(([^)#]+)(?:#[\w-]*)?\)/g).filter((link) => !link.startsWith('http'))
  expect(links.filter((link) => !existsSync(new URL(link, docs)))).toEqual([])
})
