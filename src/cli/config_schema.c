/* The JSON schema (draft 7) of the configuration file, out of the rows that the file is read
 * by. schema/graphpipe-config.schema.json is what this prints. */
#include "cli/config.h"

#include <string.h>

/* Help that is broken into lines for a terminal, as one. */
static void add_description(struct text *text, const char *help)
{
    struct text line = {0};
    for (; *help; help++)
        text_add(&line, *help == '\n' ? " " : help, 1);
    text_puts(text, "\"description\": ");
    text_json(text, line.data, line.size_bytes);
    text->is_short |= line.is_short;
    text_finish(&line);
}

static void add_choices(struct text *text, const char *words)
{
    text_puts(text, ", \"enum\": [");
    while (*words) {
        const size_t size = strcspn(words, "|");
        text_json(text, words, size);
        words += size;
        if (*words) {
            text_puts(text, ", ");
            words++;
        }
    }
    text_puts(text, "]");
}

static void add_bounds(struct text *text, const struct option *option)
{
    text_printf(text, ", \"minimum\": %llu", (unsigned long long)option->min);
    if (option->max)
        text_printf(text, ", \"maximum\": %llu", (unsigned long long)option->max);
}

static void add_type(struct text *text, const struct option *option)
{
    switch (option->kind) {
    case OPTION_FLAG:
        text_puts(text, ", \"type\": \"boolean\"");
        break;
    case OPTION_TEXT:
        text_puts(text, ", \"type\": \"string\"");
        break;
    case OPTION_LIST:
    case OPTION_NAMES:
        text_puts(text, option->is_pairs ? ", \"$ref\": \"#/definitions/pairs\""
                                         : ", \"$ref\": \"#/definitions/list\"");
        break;
    case OPTION_COUNT:
        if (option->word)
            text_printf(text,
                        ", \"type\": [\"integer\", \"string\"], \"pattern\": \"^%s$\"",
                        option->word);
        else
            text_puts(text, ", \"type\": \"integer\"");
        add_bounds(text, option);
        break;
    case OPTION_SIZE:
        text_puts(text, ", \"type\": [\"integer\", \"string\"]");
        add_bounds(text, option);
        text_puts(text, ", \"pattern\": \"^[0-9]+([KMGkmg]|[KMG]iB?|[kKMG]?B)?$\"");
        break;
    case OPTION_DURATION:
        text_puts(text,
                  ", \"type\": [\"integer\", \"string\"], \"minimum\": 0, \"pattern\": "
                  "\"^[0-9]+(ms|s|m|h)?$\"");
        break;
    case OPTION_SHORT_DURATION:
        text_puts(text, ", \"type\": \"string\", \"pattern\": \"^([0-9]+(us|ms|s)|0)$\"");
        break;
    case OPTION_CHOICE:
        add_choices(text, option->argument);
        break;
    }
}

/* The default in words, since a list's or a size's is not of one type. */
static void add_row(struct text *text, const char *before, const struct option *option)
{
    text_printf(text, "%s\"%s\": {", before, option->name);
    add_description(text, option->help);
    add_type(text, option);
    if (option->fallback && option->kind != OPTION_COUNT) {
        text_puts(text, ", \"default\": ");
        text_json_puts(text, option->fallback);
    } else if (option->fallback) {
        text_printf(text, ", \"default\": %s", option->fallback);
    }
    text_puts(text, "}");
}

static void add_definitions(struct text *text)
{
    static const char scalar[] = "{\"type\": [\"string\", \"integer\"], \"minimum\": 0, "
                                 "\"minLength\": 1}";
    text_printf(text,
                "  \"definitions\": {\n"
                "    \"list\": {\"type\": [\"string\", \"array\"], \"minLength\": 1, "
                "\"minItems\": 1,\n"
                "      \"items\": %s},\n"
                "    \"pairs\": {\"type\": \"object\", \"minProperties\": 1,\n"
                "      \"additionalProperties\": %s},\n"
                "    \"model\": {\n"
                "      \"type\": \"object\",\n"
                "      \"additionalProperties\": false,\n"
                "      \"properties\": {",
                scalar, scalar);
    for (size_t i = 0; i < MODEL_N_OPTIONS; i++)
        add_row(text, i ? ",\n        " : "\n        ", &model_options[i]);
    for (size_t i = 0; i < SERVE_N_OPTIONS; i++)
        if (serve_options[i].is_of_model)
            add_row(text, ",\n        ", &serve_options[i]);
    text_puts(text, "\n      }\n    }\n  }\n}\n");
}

void config_write_schema(struct text *text)
{
    text_puts(text, "{\n"
                    "  \"$schema\": \"http://json-schema.org/draft-07/schema#\",\n"
                    "  \"title\": \"configuration file of graphpipe serve\",\n"
                    "  \"type\": \"object\",\n"
                    "  \"additionalProperties\": false,\n"
                    "  \"properties\": {\n"
                    "    \"$schema\": {\"type\": \"string\"}");
    for (size_t i = 0; i < SERVE_N_OPTIONS; i++)
        if (!serve_options[i].is_flag_only)
            add_row(text, ",\n    ", &serve_options[i]);
    text_printf(text,
                ",\n    \"models\": {\n"
                "      \"description\": \"models by their names, each with settings of "
                "its own\",\n"
                "      \"type\": \"object\",\n"
                "      \"maxProperties\": %d,\n"
                "      \"propertyNames\": {\"pattern\": \"%s\"},\n"
                "      \"additionalProperties\": {\"$ref\": \"#/definitions/model\"}\n"
                "    }\n  },\n",
                CONFIG_MAX_MODELS, MODEL_NAME_PATTERN);
    add_definitions(text);
}
