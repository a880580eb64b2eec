// What Grafana takes for a dashboard. The test writes each of ours as a constant that has to satisfy `Stored`.
import type { AnnotationQuery, Dashboard, DataQuery, FieldConfigSource, Panel, RowPanel, VariableModel } from "@grafana/schema";
import type * as heatmap from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen.js";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen.js";
import type * as states from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen.js";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen.js";
import type * as series from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen.js";

// A file holds "dashed" where the types have GraphThresholdsStyleMode.Dashed.
type Plain<T> = T extends string
  ? `${T}`
  : T extends (infer Item)[]
    ? Plain<Item>[]
    : T extends object
      ? { [Key in keyof T]: Plain<T[Key]> }
      : T;

// The package has no type for queries of Prometheus.
interface Query extends DataQuery {
  expr: string;
  format?: "time_series" | "table" | "heatmap";
  instant?: boolean;
  legendFormat?: string;
  range?: boolean;
}

// A panel of a kind has the options of that kind, and no others. Grafana fills in what is missing.
type Kind<Type extends string, Options, Custom> = Omit<Panel, "fieldConfig" | "options" | "targets" | "type"> & {
  type: Type;
  options?: Partial<Options>;
  targets: Query[];
  fieldConfig: Omit<FieldConfigSource, "defaults"> & {
    defaults: Omit<FieldConfigSource["defaults"], "custom"> & { custom?: Partial<Custom> };
  };
};

type AnyPanel =
  | RowPanel
  | Kind<"heatmap", heatmap.Options, heatmap.FieldConfig>
  | Kind<"stat", stat.Options, never>
  | Kind<"state-timeline", states.Options, states.FieldConfig>
  | Kind<"table", table.Options, table.FieldConfig>
  | Kind<"timeseries", series.Options, series.FieldConfig>;

// Annotations of Prometheus have more than the package knows of.
type Annotation = AnnotationQuery & { expr: string; titleFormat: string };

// The builder writes what an interval has into variables of every kind; Grafana does not look at it.
type Variable = VariableModel & { auto?: boolean; auto_count?: number; auto_min?: string };

export type Stored = Plain<
  Omit<Dashboard, "annotations" | "panels" | "templating"> & {
    annotations: { list: Annotation[] };
    panels: AnyPanel[];
    templating: { list: Variable[] };
  }
>;
