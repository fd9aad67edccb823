import type {
  Counter,
  Histogram,
  Meter,
  MetricOptions,
  ObservableGauge,
  ObservableUpDownCounter,
} from '@opentelemetry/api'
import { METRICS, type Metric, type MetricKinds } from './metrics.ts'

interface InstrumentOf {
  readonly counter: Counter
  readonly 'up-down counter': ObservableUpDownCounter
  readonly gauge: ObservableGauge
  readonly histogram: Histogram
}

/** What every metric is counted with. */
export type Instruments = { readonly [Key in keyof MetricKinds]: InstrumentOf[MetricKinds[Key]] }

/** The metrics that are read off when they are collected. */
export type LevelKey = {
  [Key in keyof MetricKinds]: MetricKinds[Key] extends 'gauge' | 'up-down counter' ? Key : never
}[keyof MetricKinds]

export const LEVELS: readonly LevelKey[] = (Object.keys(METRICS) as (keyof MetricKinds)[]).filter(isLevel)

function isLevel(key: keyof MetricKinds): key is LevelKey {
  const { kind } = METRICS[key]
  return kind === 'gauge' || kind === 'up-down counter'
}

export function createInstruments(meter: Meter): Instruments {
  const create = {
    counter: (name: string, options: MetricOptions) => meter.createCounter(name, options),
    'up-down counter': (name: string, options: MetricOptions) => meter.createObservableUpDownCounter(name, options),
    gauge: (name: string, options: MetricOptions) => meter.createObservableGauge(name, options),
    histogram: (name: string, options: MetricOptions) => meter.createHistogram(name, options),
  }
  const made = Object.entries<Metric>(METRICS).map(([key, { name, kind, unit, description, advice = {} }]) => [
    key,
    create[kind](name, { unit, description, advice }),
  ])
  return Object.fromEntries(made) as Instruments
}
