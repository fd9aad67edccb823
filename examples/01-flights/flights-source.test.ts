import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { FlightsSource } from './flights-source.ts'
import { addTo, SourceError, type Total } from './source.ts'

test('a flight is a JSON object with its origin as the key', async () => {
  const source = await FlightsSource.open(1)
  const { value: [flight] = [] } = await source.batches().next()
  expect(flight).toEqual({
    key: 'LAS',
    json: '{"date":"2001-01-01T00:01","delay":33,"distance":2176,"origin":"LAS","destination":"PHL"}',
  })
})

test('the direct scan adds up what the records hold, also where it stops inside a row group', async () => {
  const source = await FlightsSource.open(2_500)
  const totals = new Map<string, Total>()
  let flights = 0
  for await (const batch of source.batches()) {
    for (const { key, json } of batch) addTo(totals, key, (JSON.parse(json) as { delay: number }).delay)
    flights += batch.length
  }
  expect(source.total).toBe(2_500)
  expect(flights).toBe(2_500)
  expect(await source.totals()).toEqual(totals)
})

test('a missing or another file is named', async () => {
  await expect(FlightsSource.open(1, '/no/flights.parquet')).rejects.toThrow(
    new SourceError(
      'The flights are not there: expected /no/flights.parquet. They come with "npm ci" (vega-datasets).',
    ),
  )
  await expect(FlightsSource.open(1, fileURLToPath(import.meta.url))).rejects.toThrow(SourceError)
})
